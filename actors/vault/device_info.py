"""How this device describes itself to others: its name, operating system and program version.

The host's name and similar texts come from outside and may hold anything, so this module changes them until
they keep the rules for text fields of docs/protocol.md, "Identity". A name that the user has given is refused
if it breaks one, and so are texts of *other* devices (protocol/identity.py): neither is changed.
"""

import platform
import socket
import unicodedata

from ...protocol.identity import MAX_SHORT_CHARACTERS, UNKNOWN, IdentityError, check_name
from ...protocol.names import MAX_NAME_CHARACTERS, keep_allowed
from ..base import FatalActorError

FALLBACK_NAME = "Spacedrive device"


def clean_text(text: str, max_characters: int) -> str:
    """Return `text` in NFC, without forbidden characters, and cut to its limit; it may become empty."""
    cut = unicodedata.normalize("NFC", keep_allowed(text)).strip()[:max_characters]
    return unicodedata.normalize("NFC", keep_allowed(cut)).strip()


def choose_name(*candidates: str | None) -> str:
    """Return the first candidate that is a device name once it is cleaned, else FALLBACK_NAME."""
    for candidate in candidates:
        if candidate is not None and is_device_name(name := clean_text(candidate, MAX_NAME_CHARACTERS)):
            return name
    return FALLBACK_NAME


def configured_name(text: str) -> str:
    """Return a name that the user has given, in NFC. Raises FatalActorError: it is not replaced."""
    name = unicodedata.normalize("NFC", text).strip()
    try:
        check_name(name)
    except IdentityError as error:
        raise FatalActorError(f"this device cannot be called that: the {error}") from None
    return name


def is_device_name(text: str) -> bool:
    """Return whether `text` keeps the rules for device names as it is."""
    try:
        check_name(text)
    except IdentityError:
        return False
    return True


def host_name() -> str:
    """Return this machine's name, not cleaned."""
    return socket.gethostname()


def operating_system() -> str:
    """Return the name of the operating system in lower case, for instance "linux"."""
    return clean_text(platform.system().lower(), MAX_SHORT_CHARACTERS) or UNKNOWN


def clean_version(version: str) -> str:
    """Return the program's version, cleaned; "0" if nothing is left of it."""
    return clean_text(version, MAX_SHORT_CHARACTERS) or "0"
