"""Interfaces, addresses and routes as the kernel tells them (netlink(7), rtnetlink(7)), and their changes.

Used by lan and by the swarm, which both watch what changes. Owns the form of these bytes, which come from the
kernel and from nobody else, and the sockets. Never waits for longer than two seconds, nor changes anything.
"""

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

NEW_LINK, DELETED_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DELETED_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, GET_ROUTE = 24, 26
INTERFACE_CHANGES: Final = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR: told when an interface or address changes."""
IPV4_ROUTE_CHANGES: Final = 0x40
IPV6_ROUTE_CHANGES: Final = 0x400
LINK = struct.Struct("=BxHiII")
ADDRESS = struct.Struct("=BBBBI")
ROUTE = struct.Struct("=BBBBBBBBI")
"""The bodies of these messages, before their attributes."""
MAX_DUMP_ANSWERS: Final = 256
_MAX_CHANGES: Final = 256
_ANSWER_BYTES: Final = 1 << 16
_TIMEOUT_SECONDS: Final = 2.0
_DONE, _ERROR = 3, 2
_REQUEST_DUMP: Final = 0x1 | 0x300
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_KIND_OF_ATTRIBUTE: Final = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""


class InterfaceAddress(NamedTuple):
    """An address of this host: the number of its interface, its prefix in bits, its IFA_F flags."""

    interface: int
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    prefix_bits: int
    flags: int


class ChangeWatch:
    """A socket that becomes readable when something of the watched kinds changes. Raises OSError."""

    def __init__(self, groups: int) -> None:
        self.socket = _open(groups)
        self.socket.setblocking(False)

    def drain(self) -> list[bytes] | None:
        """Return what has changed so far; None: more than was kept, so that all may have changed.

        Most callers forget it, and read anew all that there is.
        """
        found: list[bytes] = []
        is_complete = True
        while True:
            try:
                data = self.socket.recv(_ANSWER_BYTES)
            except BlockingIOError:
                return found if is_complete else None
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # the socket is gone, and says nothing more
                    return None
                is_complete = False  # more changes than the buffer holds; those after them are read on
                continue
            is_complete = is_complete and len(found) < _MAX_CHANGES
            if is_complete:
                found.append(data)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def ask(*requests: bytes) -> list[bytes]:
    """Return all answers to requests. Raises OSError."""
    answers: list[bytes] = []
    with _open(0) as sock:
        sock.settimeout(_TIMEOUT_SECONDS)
        for request in requests:
            sock.send(request)
            for _ in range(MAX_DUMP_ANSWERS):
                answers.append(sock.recv(_ANSWER_BYTES))
                if _ended(answers[-1]):
                    break
    return answers


def dump_request(kind: int, size: int) -> bytes:
    """Return the request for all that there is of a kind; `size` is that of its body."""
    return _HEADER.pack(_HEADER.size + size, kind, _REQUEST_DUMP, 0, 0) + bytes(size)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of each message in an answer."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and value of each attribute behind a body, or in the value of a nested one."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind & _KIND_OF_ATTRIBUTE, data[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3


def read_address(body: bytes) -> InterfaceAddress | None:
    """Return what the body of an RTM_NEWADDR says, None if it is of another family or too short.

    On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL this host's.
    """
    if len(body) < ADDRESS.size:
        return None
    family, prefix_bits, flags, _scope, interface = ADDRESS.unpack_from(body)
    of_address = dict(attributes(body[ADDRESS.size :]))
    raw = of_address.get(_IFA_LOCAL, of_address.get(_IFA_ADDRESS, b""))
    if (family, len(raw)) not in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        return None
    return InterfaceAddress(interface, ipaddress.ip_address(raw), prefix_bits, flags)


def _ended(data: bytes) -> bool:
    """Return whether a dump is complete with these bytes."""
    return any(kind in (_DONE, _ERROR) for kind, _ in messages(data))


def _open(groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock
