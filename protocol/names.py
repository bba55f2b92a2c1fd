"""The rules for the names of devices, and for other short texts that devices state about themselves.

Implements the rules for text of docs/protocol.md, "Identity", as pure checks. Apart from identity.py because
the configuration checks a name too, and needs no cryptography for it. A text of another device is refused and
never mended; `keep_allowed` is for the host's own name.
"""

import re
import unicodedata
from typing import Final

from .errors import IdentityError

MAX_NAME_CHARACTERS: Final = 64
FORBIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that are invisible, change the direction of text, or are unassigned."""
_JOINER: Final = "\u200d"
_EMOJI: Final = "[\u2190-\u27ff\u2900-\u2bff\U0001f000-\U0001faff]"
_JOINERS_OF_EMOJI: Final = re.compile(f"(?:(?<={_EMOJI})|(?<={_EMOJI}\ufe0f)){_JOINER}(?={_EMOJI})")
_VISIBLE_CATEGORIES = frozenset("LNPS")
_BLANK_CHARACTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols according to their category, but drawn as nothing."""


def check_text(text: str, limit: int, what: str) -> None:
    """Raise IdentityError, with the field's name `what`, unless `text` keeps the rules for text fields.

    `limit` is the greatest number of code points.
    """
    if not 1 <= len(text) <= limit:
        raise IdentityError(f"{what} must have 1 to {limit} characters")
    offending = first_forbidden(text)
    if offending is not None:
        where = "may stand between two emoji only" if offending == _JOINER else "cannot be printed"
        raise IdentityError(f"{what} contains {described(offending)}, which {where}")
    if not unicodedata.is_normalized("NFC", text):
        raise IdentityError(f"{what} is not in normalization form C")
    if not any(
        unicodedata.category(char)[0] in _VISIBLE_CATEGORIES and char not in _BLANK_CHARACTERS
        for char in text
    ):
        raise IdentityError(f"{what} is blank: it has no character that can be seen")


def check_name(text: str) -> None:
    """Raise IdentityError unless `text` is a device name: 1 to 64 code points, NFC, visible, not blank."""
    check_text(text, MAX_NAME_CHARACTERS, "name")


def first_forbidden(text: str) -> str | None:
    """Return the first character that no text field may have, a joiner that joins no emoji included."""
    for char in _JOINERS_OF_EMOJI.sub("", text):
        if unicodedata.category(char) in FORBIDDEN_CATEGORIES:
            return char
    return None


def keep_allowed(text: str) -> str:
    """Return `text` without the characters that no text field may have."""
    joiners = {match.start() for match in _JOINERS_OF_EMOJI.finditer(text)}
    return "".join(
        char
        for place, char in enumerate(text)
        if place in joiners or unicodedata.category(char) not in FORBIDDEN_CATEGORIES
    )


def described(char: str) -> str:
    """Return how a character that cannot be shown is told to a person."""
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X}" + (f" ({name})" if name else "")
