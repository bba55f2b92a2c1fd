"""What this device says of itself: name, operating system, program version.

Makes any text fit the rules for text fields of docs/protocol.md, "Messages". What comes from elsewhere is
never made to fit but refused (protocol/identity.py).
"""

import platform
import socket
import unicodedata

from ...protocol.identity import IdentityError, check_name

_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NAME_LENGTH = 64
_SHORT_LENGTH = 32
FALLBACK_NAME = "Spacedrive device"


def fit(text: str, length: int) -> str:
    """Return `text` in NFC without forbidden characters, at most `length` characters; perhaps empty."""
    kept = "".join(char for char in text if unicodedata.category(char) not in _FORBIDDEN)
    cut = unicodedata.normalize("NFC", kept).strip()[:length]
    return unicodedata.normalize("NFC", cut).strip()


def fit_name(*candidates: str | None) -> str:
    """Return the first candidate of which something is left once it fits."""
    for candidate in candidates:
        if candidate is not None and is_name(name := fit(candidate, _NAME_LENGTH)):
            return name
    return FALLBACK_NAME


def is_name(text: str) -> bool:
    """Tell whether a text keeps the rules for device names."""
    try:
        check_name(text)
    except IdentityError:
        return False
    return True


def host_name() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def system_name() -> str:
    """Return the operating system, "linux" say."""
    return fit(platform.system().lower(), _SHORT_LENGTH) or "unknown"


def fit_version(version: str) -> str:
    """Return the program's version so that it fits."""
    return fit(version, _SHORT_LENGTH) or "0"
