"""Readers of single configuration values: text, numbers, switches, paths, host:port.

Each takes what a flag, a variable or a TOML file holds and returns the value, or raises
:class:`InvalidValueError` with a message for people that says what would be right. loading.py adds where the
value was given. Never opens a file or a socket.
"""

import ipaddress
import math
import os
import re
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from ..messages.errors import SpacedriveNodeError
from ..protocol.errors import IdentityError
from ..protocol.names import check_name, described, first_forbidden
from .paths import MAX_SOCKET_PATH_BYTES, UnsafePathError, expand_user

T = TypeVar("T")
_MAX_NAME_CHARS = 64
_MAX_QUOTED_BITS = 256
_URL_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,127}")


class InvalidValueError(SpacedriveNodeError, ValueError):
    """A value that cannot be used; the text says what would be right."""


def text_of(value: object) -> str:
    """Return a printable text without space around it."""
    if not isinstance(value, str):
        raise InvalidValueError(f"a text in quotes is needed, not {quoted(value)}")
    text = value.strip()
    if not text:
        raise InvalidValueError("must not be empty")
    offending = first_forbidden(text)
    if offending is not None:
        raise InvalidValueError(f"contains {described(offending)}, which cannot be printed")
    return text


def quoted(value: object) -> str:
    """Return a wrong value for its message: a text in quotes, all else as a TOML file has it; shortened."""
    if isinstance(value, int) and value.bit_length() > _MAX_QUOTED_BITS:
        return "a number so large"  # Python would not write it down
    text = str(value).lower() if isinstance(value, bool) else str(value)
    short = text if len(text) <= 80 else text[:77] + "…"
    return repr(short) if isinstance(value, str) else short


def absolute_path(value: object) -> str:
    """Return an absolute path; `~` is the home directory."""
    try:
        return os.path.abspath(expand_user(text_of(value)))
    except UnsafePathError as error:
        raise InvalidValueError(str(error)) from None


def socket_path(value: object) -> str:
    """Return an absolute path that is short enough for a Unix socket."""
    path = absolute_path(value)
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH_BYTES:
        raise InvalidValueError(
            f"the path of a socket may have {MAX_SOCKET_PATH_BYTES} bytes, this one has {size}"
        )
    return path


def device_name(value: object) -> str:
    """Return a device name: 1 to 64 printable characters, NFC, not blank."""
    name = unicodedata.normalize("NFC", text_of(value))
    if len(name) > _MAX_NAME_CHARS:
        raise InvalidValueError(f"a name may have {_MAX_NAME_CHARS} characters, this one has {len(name)}")
    try:
        check_name(name)
    except IdentityError as error:
        raise InvalidValueError(f"is no name for a device: {error}") from None
    return name


def switch(value: object) -> bool:
    """Return a boolean."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("1", "true", "yes", "on"):
            return True
        if word in ("0", "false", "no", "off"):
            return False
    raise InvalidValueError(f"true or false is needed, not {quoted(value)}")


def choice(*words: str) -> Callable[[object], str]:
    """Return a reader that accepts these words and no other."""

    def read(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else value
        if word not in words:
            raise InvalidValueError(f"one of {', '.join(words)} is needed, not {quoted(value)}")
        return str(word)

    return read


def number(low: float, high: float, unit: str) -> Callable[[object], float]:
    """Return a reader of a number from `low` to `high`; `unit` is for the message."""

    def read(value: object) -> float:
        try:
            if isinstance(value, bool):
                raise ValueError
            result = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            result = math.nan
        if not low <= result <= high:
            raise InvalidValueError(
                f"a number from {low:g} to {high:g} ({unit}) is needed, not {quoted(value)}"
            )
        return result

    return read


def integer(low: int, high: int) -> Callable[[object], int]:
    """Return a reader of a whole number from `low` to `high`."""

    def read(value: object) -> int:
        result = low - 1
        if isinstance(value, int) and not isinstance(value, bool):
            result = value
        elif isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            result = int(value.strip()[:20])
        if not low <= result <= high:
            raise InvalidValueError(f"a whole number from {low} to {high} is needed, not {quoted(value)}")
        return result

    return read


def split_endpoint(text: str) -> tuple[str, int]:
    """Split "host:port" or "[ipv6]:port" into host, without brackets, and port. Raises InvalidValueError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise InvalidValueError(
            f"HOST:PORT is needed, as in 127.0.0.1:9464 or [::1]:9464, not {quoted(text)}"
        )
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise InvalidValueError(f"the port must be a number from 0 to 65535, not {quoted(port)}")
    return host.strip("[]"), int(port)


def endpoint(value: object) -> str | None:
    """Return "host:port" with a numeric host or localhost; None for `off`."""
    if value is False:
        return None
    text = text_of(value)
    if text.lower() == "off":
        return None
    host, _port = split_endpoint(text)
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise InvalidValueError(
                f"the host must be an IP address or localhost, not {quoted(host)}"
            ) from None
    return text


def name_server(value: object) -> str:
    """Return "address:port" of a name server, whose port is 53 if it is not given."""
    text = text_of(value)
    try:
        host, port = str(ipaddress.ip_address(text.strip("[]"))), 53
    except ValueError:
        host, port = split_endpoint(text)
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            port = 0
    if port == 0:
        raise InvalidValueError(
            f"the IP address of a name server is needed, as 192.0.2.53 or [::1]:5353, not {quoted(text)}"
        )
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def network(value: object) -> str:
    """Return an IP network: an address, or one with the length of its prefix."""
    try:
        return str(ipaddress.ip_network(text_of(value)))
    except ValueError:
        raise InvalidValueError(
            f"an IP address or a network such as 10.0.0.0/8 is needed, not {quoted(value)}"
        ) from None


def url_path(value: object) -> str:
    """Return the path of a URL: it begins with a slash, and what is special in a URL is not in it."""
    text = text_of(value)
    if not _URL_PATH.fullmatch(text):
        raise InvalidValueError(f"a path such as /p2p is needed, not {quoted(value)}")
    return text


def protocol_id(value: object) -> str:
    """Return a libp2p protocol id."""
    text = text_of(value)
    if not text.startswith("/") or len(text) > 128 or any(char.isspace() for char in text):
        raise InvalidValueError(f"a protocol id such as /spacedrive/kad/1.0.0 is needed, not {quoted(value)}")
    return text


def list_of(read: Callable[[object], T], limit: int) -> Callable[[object], tuple[T, ...]]:
    """Return a reader of several values: a list, or a text with spaces or commas between them."""

    def read_all(value: object) -> tuple[T, ...]:
        items: list[object]
        if isinstance(value, str):
            items = list(value.replace(",", " ").split())
        elif isinstance(value, list | tuple):
            items = list(value)
        else:
            raise InvalidValueError(f"a list of texts is needed, not {quoted(value)}")
        if len(items) > limit:
            raise InvalidValueError(f"at most {limit} are allowed, these are {len(items)}")
        return tuple(dict.fromkeys(read(item) for item in items))

    return read_all


def refused_passphrase(value: object) -> None:
    """Refuse a passphrase where others can read it; never quotes it."""
    raise InvalidValueError("a passphrase does not belong here; use passphrase-file or --ask-passphrase")
