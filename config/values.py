"""Readers of single configuration values: text, numbers, switches, multiaddrs, host:port.

Each takes what a flag, a variable or a TOML file holds and returns the value, or raises
:class:`InvalidValueError` with a message for people that says what would be right. loading.py adds where the
value was given. Never opens a file or a socket.
"""

import ipaddress
import math
import os
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from ..messages.errors import SpacedriveNodeError
from .paths import MAX_SOCKET_PATH_BYTES

T = TypeVar("T")
_MAX_NAME_CHARS = 64
_MAX_ADDRESS_CHARS = 256
_UNPRINTABLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class InvalidValueError(SpacedriveNodeError, ValueError):
    """A value that cannot be used; the text says what would be right."""


def _text(value: object) -> str:
    """Return a printable text without space around it."""
    if not isinstance(value, str):
        raise InvalidValueError(f"a text in quotes is needed, not {_quoted(value)}")
    text = value.strip()
    if not text:
        raise InvalidValueError("must not be empty")
    if any(unicodedata.category(char) in _UNPRINTABLE_CATEGORIES for char in text):
        raise InvalidValueError("contains characters that cannot be printed")
    return text


def _quoted(value: object) -> str:
    """Return a wrong value for its message: a text in quotes, all else as a TOML file has it; shortened."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    short = text if len(text) <= 80 else text[:77] + "…"
    return repr(short) if isinstance(value, str) else short


def absolute_path(value: object) -> str:
    """Return an absolute path; `~` is the home directory."""
    return os.path.abspath(os.path.expanduser(_text(value)))


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
    """Return a device name: 1 to 64 printable characters, NFC."""
    name = unicodedata.normalize("NFC", _text(value))
    if len(name) > _MAX_NAME_CHARS:
        raise InvalidValueError(f"a name may have {_MAX_NAME_CHARS} characters, this one has {len(name)}")
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
    raise InvalidValueError(f"true or false is needed, not {_quoted(value)}")


def choice(*words: str) -> Callable[[object], str]:
    """Return a reader that accepts these words and no other."""

    def read(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else value
        if word not in words:
            raise InvalidValueError(f"one of {', '.join(words)} is needed, not {_quoted(value)}")
        return str(word)

    return read


def number(low: float, high: float, unit: str) -> Callable[[object], float]:
    """Return a reader of a number from `low` to `high`; `unit` is for the message."""

    def read(value: object) -> float:
        try:
            if isinstance(value, bool):
                raise ValueError
            result = float(value) if isinstance(value, int | float | str) else math.nan
        except ValueError:
            result = math.nan
        if not low <= result <= high:
            raise InvalidValueError(
                f"a number from {low:g} to {high:g} ({unit}) is needed, not {_quoted(value)}"
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
            raise InvalidValueError(f"a whole number from {low} to {high} is needed, not {_quoted(value)}")
        return result

    return read


def split_endpoint(text: str) -> tuple[str, int]:
    """Split "host:port" or "[ipv6]:port" into host, without brackets, and port. Raises InvalidValueError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise InvalidValueError(
            f"HOST:PORT is needed, as in 127.0.0.1:9464 or [::1]:9464, not {_quoted(text)}"
        )
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > 65535:
        raise InvalidValueError(f"the port must be a number from 0 to 65535, not {_quoted(port)}")
    return host.strip("[]"), int(port)


def endpoint(value: object) -> str | None:
    """Return "host:port" with a numeric host or localhost; None for `off`."""
    if value is False:
        return None
    text = _text(value)
    if text.lower() == "off":
        return None
    host, _port = split_endpoint(text)
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise InvalidValueError(
                f"the host must be an IP address or localhost, not {_quoted(host)}"
            ) from None
    return text


def protocol_id(value: object) -> str:
    """Return a libp2p protocol id."""
    text = _text(value)
    if not text.startswith("/") or len(text) > 128 or any(char.isspace() for char in text):
        raise InvalidValueError(
            f"a protocol id such as /spacedrive/kad/1.0.0 is needed, not {_quoted(value)}"
        )
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
            raise InvalidValueError(f"a list of texts is needed, not {_quoted(value)}")
        if len(items) > limit:
            raise InvalidValueError(f"at most {limit} are allowed, these are {len(items)}")
        return tuple(dict.fromkeys(read(item) for item in items))

    return read_all


def _parse_multiaddr(value: object) -> tuple[str, list[tuple[str, str | None]]]:
    """Return a TCP multiaddr as text, and as (protocol, value) pairs. Raises InvalidValueError."""
    from multiaddr import Multiaddr
    from multiaddr.exceptions import Error

    text = _text(value)
    if not text.startswith("/"):
        raise InvalidValueError(f"a multiaddr such as /ip4/192.0.2.1/tcp/7520 is needed, not {_quoted(text)}")
    try:
        parsed = [(protocol.name, part) for protocol, part in Multiaddr(text).items()]
    except (Error, ValueError) as error:
        # The library's message repeats the address before and after what matters.
        reason = str(error).partition("': ")[2].partition(" (string:")[0] or "not a multiaddr"
        raise InvalidValueError(f"{_quoted(text)} is not a multiaddr: {reason}") from None
    names = [name for name, _ in parsed]
    if "p2p-circuit" in names:
        raise InvalidValueError(f"{_quoted(text)} goes through a relay; relays are not part of this version")
    if names[1:2] == ["udp"] or {"ws", "wss", "tls"} & set(names):
        raise InvalidValueError(
            f"{_quoted(text)}: this version speaks TCP only, as in /ip4/192.0.2.1/tcp/7520"
        )
    if len(names) < 2 or names[1] != "tcp":
        raise InvalidValueError(f"{_quoted(text)} must have a host and a port, as in /ip4/192.0.2.1/tcp/7520")
    if names[0] not in ("ip4", "ip6", "dns", "dns4", "dns6"):
        raise InvalidValueError(f"{_quoted(text)} must begin with /ip4, /ip6 or /dns")
    if [name for name in names[2:] if name != "p2p"]:
        raise InvalidValueError(f"{_quoted(text)}: nothing may follow the port but /p2p/ and a peer id")
    return text, parsed


def _without_peer(text: str, names: list[str]) -> str:
    """Return the address, or raise InvalidValueError when it ends with a peer id."""
    if "p2p" in names:
        raise InvalidValueError(f"{_quoted(text)} must not end with /p2p/…: that part is this node's own")
    if len(text) > _MAX_ADDRESS_CHARS:
        raise InvalidValueError(f"an address may have {_MAX_ADDRESS_CHARS} characters")
    return text


def listen_address(value: object) -> str:
    """Return a multiaddr to listen on."""
    text, parts = _parse_multiaddr(value)
    names = [name for name, _ in parts]
    if names[0] not in ("ip4", "ip6"):
        raise InvalidValueError(
            f"{_quoted(text)}: to listen needs an address of this machine, /ip4/… or /ip6/…"
        )
    return _without_peer(text, names)


def announce_address(value: object) -> str:
    """Return a multiaddr under which this node announces itself."""
    text, parts = _parse_multiaddr(value)
    if parts[1][1] == "0":
        raise InvalidValueError(f"{_quoted(text)}: nobody can reach port 0")
    return _without_peer(text, [name for name, _ in parts])


def bootstrap_address(value: object) -> str:
    """Return a multiaddr that ends with the peer id of the node there."""
    text, parts = _parse_multiaddr(value)
    if parts[-1][0] != "p2p" or [name for name, _ in parts].count("p2p") != 1:
        raise InvalidValueError(f"{_quoted(text)} must end with /p2p/ and the peer id of that node")
    if len(text) > _MAX_ADDRESS_CHARS + 64:
        raise InvalidValueError(f"an address may have {_MAX_ADDRESS_CHARS} characters")
    return text


def refused_relay(value: object) -> None:
    """Refuse relays."""
    if value not in ((), []):
        raise InvalidValueError("relays are not part of this version; leave this out")


def refused_relay_service(value: object) -> None:
    """Refuse to be a relay; `false` is what the node does anyway."""
    if switch(value):
        raise InvalidValueError("relays are not part of this version; leave this out")


def refused_passphrase(value: object) -> None:
    """Refuse a passphrase where others can read it; never quotes it."""
    raise InvalidValueError("a passphrase does not belong here; use passphrase-file or --ask-passphrase")
