"""What ICMP says of datagrams that this node has sent: that nobody listens on the port they were for.

The kernel puts such messages into the error queue of the socket (IP_RECVERR, ip(7)), and they have to be
taken from there: a queue that is not empty lets every wait for the socket return at once. Anybody can forge
them, so the caller compares the datagram in the message with what it has sent. Owns the form of these
messages.
"""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aioquic.buffer import Buffer, BufferReadError
from aioquic.quic.packet import pull_quic_header

from ..library.udp_sockets import SocketAddress

_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_MAX_AT_ONCE: Final = 64
_MAX_DATAGRAM_BYTES: Final = 2048
_MAX_CONTROL_BYTES: Final = 512
_ERROR = struct.Struct("=IBBBx")
"""The beginning of a sock_extended_err: errno, origin, type, code."""
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
_PORT_UNREACHABLE: Final = {_ORIGIN_ICMP: (3, 3), _ORIGIN_ICMP6: (1, 4)}
"""By origin: type and code (RFC 792, RFC 4443)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A datagram that was refused, or as much of it as came back, and where it was sent."""

    address: SocketAddress
    datagram: bytes

    def is_of_handshake(self, connection_id: bytes) -> bool:
        """Return whether it began the handshake whose first destination connection id this is.

        That has eight random bytes, which only those know who see the packets on their way.
        """
        try:
            header = pull_quic_header(Buffer(data=self.datagram), host_cid_length=len(connection_id))
        except (ValueError, BufferReadError):
            return False
        return bool(header.destination_cid == connection_id)


def watch(sock: socket.socket, *, is_ip6: bool) -> None:
    """Have the kernel keep what ICMP says about datagrams of a socket."""
    level, option = (socket.IPPROTO_IPV6, _IPV6_RECVERR) if is_ip6 else (socket.IPPROTO_IP, _IP_RECVERR)
    with suppress(OSError):  # a system without it: refused dials then wait for their deadline
        sock.setsockopt(level, option, 1)


def take(sock: socket.socket) -> list[Refusal]:
    """Take what is in the error queue, at most 64 messages; return those that say that a port is closed."""
    found: list[Refusal] = []
    for _ in range(_MAX_AT_ONCE):
        try:
            datagram, control, _flags, address = sock.recvmsg(
                _MAX_DATAGRAM_BYTES, _MAX_CONTROL_BYTES, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except OSError:  # none is left
            break
        if any(_says_port_is_closed(data) for _level, _kind, data in control):
            found.append(Refusal(address, datagram))
    return found


def _says_port_is_closed(data: bytes) -> bool:
    if len(data) < _ERROR.size:
        return False
    _errno, origin, kind, code = _ERROR.unpack_from(data)
    return _PORT_UNREACHABLE.get(origin) == (kind, code)
