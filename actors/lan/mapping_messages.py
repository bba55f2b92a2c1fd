"""The packets of PCP and NAT-PMP by which a port of the gateway is opened: read with bounds, and written.

Owns their bytes, and what a result code means. Pure. Implements RFC 6887 (7, 11, 14.1) and RFC 6886 (3).
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from ...messages.types import PortProtocol

SERVER_PORT: Final = 5351
ANNOUNCEMENT_PORT: Final = 5350
"""On which a gateway tells everybody, by multicast, that it was restarted."""
MAX_PACKET_BYTES: Final = 1100
NONCE_BYTES: Final = 12
_NAT_PMP_VERSION, _PCP_VERSION = 0, 2
_ANNOUNCE, _MAP = 0, 1
_RESPONSE: Final = 0x80
_NUMBERS: dict[PortProtocol, int] = {"tcp": 6, "udp": 17}
_NAT_PMP_MAP: dict[PortProtocol, int] = {"udp": 1, "tcp": 2}
_UNSUPPORTED_VERSION: Final = 1
_TRY_AGAIN: Final = (3, 4, 7, 8)
"""NAT-PMP: network failure, out of resources. PCP: network failure, no resources. (3 and 4 of PCP say that
the request is not understood; asking again after a while does no harm.)"""
_HEADER = struct.Struct("!BBHI16s")
_ANSWER_HEADER = struct.Struct("!BBBBII12x")
_MAP_BODY = struct.Struct("!12sB3xHH16s")
_SHORT_ANSWER = struct.Struct("!BBHI")


@dataclass(frozen=True, slots=True)
class Mapped:
    """The gateway has opened a port for `seconds`, or closed it (0). NAT-PMP has no address or nonce here."""

    protocol: PortProtocol
    port: int
    external_port: int
    seconds: int
    epoch: int
    address: ipaddress.IPv4Address | None = None
    nonce: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway does not open a port. `seconds`: for how long it will not, if it says so."""

    protocol: PortProtocol
    port: int | None
    epoch: int
    seconds: int
    may_change: bool
    """Whether asking again soon may help."""
    nonce: bytes | None = None


@dataclass(frozen=True, slots=True)
class ExternalAddress:
    """NAT-PMP: the public address of the gateway; None: it has none."""

    address: ipaddress.IPv4Address | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """PCP: the gateway says how old its state is."""

    epoch: int


@dataclass(frozen=True, slots=True)
class SpeaksNatPmp:
    """The gateway does not know PCP, and answers as one of NAT-PMP does."""


Answer = Mapped | Refused | ExternalAddress | Restarted | SpeaksNatPmp


def pcp_map(
    own: ipaddress.IPv4Address,
    protocol: PortProtocol,
    port: int,
    external_port: int,
    seconds: int,
    nonce: bytes,
) -> bytes:
    """Return the request to open a port for `seconds`; 0 closes it. `external_port` is wished for."""
    header = _HEADER.pack(_PCP_VERSION, _MAP, 0, seconds, _mapped(own))
    anywhere = _mapped(ipaddress.IPv4Address(0))
    return header + _MAP_BODY.pack(nonce, _NUMBERS[protocol], port, external_port, anywhere)


def nat_pmp_map(protocol: PortProtocol, port: int, external_port: int, seconds: int) -> bytes:
    """Return the same for NAT-PMP."""
    wished = external_port if seconds else 0
    return struct.pack("!BBHHHI", _NAT_PMP_VERSION, _NAT_PMP_MAP[protocol], 0, port, wished, seconds)


def nat_pmp_address() -> bytes:
    """Return the question for the public address."""
    return bytes([_NAT_PMP_VERSION, 0])


def parse(data: bytes) -> Answer | None:
    """Return what a packet of the gateway says; None for anything else."""
    if len(data) < 4 or len(data) > MAX_PACKET_BYTES or not data[1] & _RESPONSE:
        return None
    if data[0] == _NAT_PMP_VERSION:
        return _parse_nat_pmp(data)
    return _parse_pcp(data) if data[0] == _PCP_VERSION else None


def _parse_pcp(data: bytes) -> Answer | None:
    if len(data) < _ANSWER_HEADER.size or len(data) % 4:
        return None
    _version, opcode, _reserved, result, seconds, epoch = _ANSWER_HEADER.unpack_from(data)
    if opcode == _RESPONSE | _ANNOUNCE:
        return Restarted(epoch) if result == 0 else None
    if opcode != _RESPONSE | _MAP or len(data) < _ANSWER_HEADER.size + _MAP_BODY.size:
        return None
    nonce, number, port, external_port, address = _MAP_BODY.unpack_from(data, _ANSWER_HEADER.size)
    protocol = next((name for name, value in _NUMBERS.items() if value == number), None)
    if protocol is None:
        return None
    if result:
        return Refused(protocol, port, epoch, seconds, result in _TRY_AGAIN, nonce)
    found = ipaddress.IPv6Address(address).ipv4_mapped
    return None if found is None else Mapped(protocol, port, external_port, seconds, epoch, found, nonce)


def _parse_nat_pmp(data: bytes) -> Answer | None:
    if len(data) < _SHORT_ANSWER.size:
        return None
    _version, opcode, result, epoch = _SHORT_ANSWER.unpack_from(data)
    if result == _UNSUPPORTED_VERSION:
        return SpeaksNatPmp()
    if opcode == _RESPONSE and len(data) >= 12:
        return ExternalAddress(None if result else ipaddress.IPv4Address(data[8:12]), epoch)
    protocol = next((name for name, value in _NAT_PMP_MAP.items() if _RESPONSE | value == opcode), None)
    if protocol is None:
        return None
    if result:
        port = int.from_bytes(data[8:10], "big") if len(data) >= 10 else None
        return Refused(protocol, port, epoch, 0, result in _TRY_AGAIN)
    if len(data) < 16:
        return None
    port, external_port, seconds = struct.unpack_from("!HHI", data, 8)
    return Mapped(protocol, port, external_port, seconds, epoch)


def _mapped(ip: ipaddress.IPv4Address) -> bytes:
    return bytes(10) + b"\xff\xff" + ip.packed
