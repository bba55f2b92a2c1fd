r"""Makes every text in a message to a client safe to print: a control character becomes an escape, as \x1b.

Why here: a session and the swarm parse strangers' bytes and may have been taken over, and what they say (a
message, a detail, the name of an operating system) ends in somebody's terminal. Clients in other languages
print it as it comes. Never makes a text longer: its bound still holds for the client that decodes it.
"""

import unicodedata
from typing import TypeVar

import msgspec

from ...protocol.names import FORBIDDEN_CATEGORIES

_JOINER = "\u200d"
"""Between the parts of an emoji; moves nothing on a terminal."""
_S = TypeVar("_S", bound=msgspec.Struct)


def with_safe_texts(message: _S) -> _S:
    """Return the message with every text escaped, also in the structs that it contains."""
    changes: dict[str, object] = {}
    for field in message.__struct_fields__:
        value = getattr(message, field)
        if (safe := _safe(value)) is not value:
            changes[field] = safe
    return msgspec.structs.replace(message, **changes) if changes else message


def _safe(value: object) -> object:
    match value:
        case str():
            return value if value.isprintable() else _escape(value)
        case tuple():
            parts = tuple(_safe(part) for part in value)
            return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
        case msgspec.Struct():
            return with_safe_texts(value)
    return value


def _escape(text: str) -> str:
    return "".join(
        char.encode("unicode_escape").decode("ascii") if _is_unsafe(char) else char for char in text
    )[: len(text)]


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in FORBIDDEN_CATEGORIES and char != _JOINER
