"""The base of every state that holds key material: immutable, serialisable, and silent when printed."""

from typing import Any, dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class SecretStruct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A record whose fields never show in repr, logs or tracebacks; only its type does."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> Any:
        """Show nothing to rich either, which would otherwise list the fields."""
        return iter(())
