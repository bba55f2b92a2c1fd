"""Structs that may hold secrets, and what shows of them when they are printed.

A secret leaves a process most easily by accident: in a log line, an assertion, or a traceback with local
variables. So every struct that may hold one derives from a class of this module, which replaces its `repr`
and what rich shows in its place; tests/secret_leaks/test_reports.py fills every struct of the project with
secrets and prints it. Never encrypts, and never wipes memory.
"""

from typing import Any, ClassVar, dataclass_transform

import msgspec


class _PrintsTypeOnly:
    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:  # without it, rich lists all fields
        return []


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class SecretStruct(_PrintsTypeOnly, msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of immutable records that hold secrets: only the name of the type is printed."""


@dataclass_transform(field_specifiers=(msgspec.field,))
class SecretState(_PrintsTypeOnly, msgspec.Struct, forbid_unknown_fields=True):
    """Base of mutable states that hold secrets: only the name of the type is printed."""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class RedactedStruct(SecretStruct, frozen=True):
    """Base of messages: fields are printed, but for bytes and for the fields that `_secret` names.

    Of bytes only the number is printed: they may be keys, sealed parts, or frames that contain them.
    """

    _secret: ClassVar[frozenset[str]] = frozenset()
    """Names of fields whose text is a secret: the words of a code."""

    def __repr__(self) -> str:
        shown = (f"{name}={self._shown(name)!r}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return the same fields and values for rich to print."""
        return [(name, self._shown(name)) for name in self.__struct_fields__]

    def _shown(self, name: str) -> Any:
        value = getattr(self, name)
        if name in self._secret and value is not None:
            return _Placeholder("<secret>")
        return _Placeholder(f"<{len(value)} bytes>") if isinstance(value, bytes) else value


class _Placeholder(str):
    """What is printed in place of a value, without quotes."""

    __slots__ = ()
    __repr__ = str.__str__
