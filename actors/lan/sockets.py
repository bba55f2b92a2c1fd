"""The sockets of this actor: one of UDP for each IP version, joined to mDNS on each interface.

They are there only while a code is announced or looked for: otherwise this host neither says nor hears
anything by mDNS on behalf of this node. Port and groups are shared with other programs of the host.

Owns every system call of this actor on the network. Never looks into a packet.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from ...protocol.multiaddrs import IpAddress
from .. import netlink
from . import interfaces, packet_filter
from .dns_messages import MAX_PACKET_BYTES
from .interfaces import Interface
from .packets import GROUPS, MDNS_PORT, Packet

_IP_PKTINFO = 8
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
_HOPS = 255
_BUFFER_BYTES = 1 << 20
_ANCILLARY_BYTES = 128


@dataclass(frozen=True, slots=True)
class Received:
    """One packet as it came: the sender's address as text and port, and the number of the interface."""

    data: bytes
    sender: str
    port: int
    interface: int


def read_interfaces() -> tuple[Interface, ...]:
    """Ask the kernel for the interfaces that multicast. Raises OSError."""
    return interfaces.parse(netlink.ask(*interfaces.requests()))


@dataclass(slots=True)
class MdnsSockets:
    """The sockets by IP version, and on which interfaces they have joined the groups."""

    by_version: dict[int, socket.socket] = field(default_factory=dict)
    _joined: dict[int, set[int]] = field(default_factory=dict)
    _present: dict[int, set[int]] = field(default_factory=dict)
    """For each version: the numbers of interfaces that have joined, and of those that have an address."""

    def open(self) -> list[OSError]:
        """Open them; return what kept one from opening. The other one does without it."""
        problems = []
        for version in (4, 6):
            try:
                self.by_version[version] = _open(version)
                self._joined[version] = set()
                self._present[version] = set()
            except OSError as error:
                problems.append(error)
        return problems

    def close(self) -> None:
        """Close them, and so leave the groups."""
        for sock in self.by_version.values():
            sock.close()
        self.by_version.clear()
        self._joined.clear()
        self._present.clear()

    def set_interfaces(self, found: Iterable[Interface]) -> None:
        """Set the interfaces on which packets can be sent."""
        found = tuple(found)
        for version in self.by_version:
            self._present[version] = {interface.index for interface in found if interface.has(version)}

    def join(self, found: Iterable[Interface]) -> None:
        """Join the groups on these interfaces, and on no others."""
        found = tuple(found)
        for version, sock in self.by_version.items():
            wanted = {interface.index for interface in found if interface.has(version)}
            joined = self._joined[version]
            for index in joined - wanted:
                with suppress(OSError):  # one that is gone has left its groups
                    _member(sock, version, index, join=False)
                joined.discard(index)
            for index in wanted - joined:
                with suppress(OSError):
                    _member(sock, version, index, join=True)
                    joined.add(index)

    def send(self, packet: Packet) -> None:
        """Send a packet. One that the system does not take is lost, like any datagram."""
        if packet.to is not None:
            self._send(packet.to.ip.version, packet, str(packet.to.ip), packet.to.port)
            return
        for version in self.by_version:
            if packet.interface in self._present[version]:
                self._send(version, packet, GROUPS[version], MDNS_PORT)

    def drop(self, senders: Iterable[IpAddress]) -> None:
        """Have the kernel drop what these send, and nothing else."""
        senders = tuple(senders)
        for version, sock in self.by_version.items():
            with suppress(OSError):  # then they are dropped here
                of_version = [ip for ip in senders if ip.version == version]
                packet_filter.attach(sock, packet_filter.program(of_version))

    def _send(self, version: int, packet: Packet, host: str, port: int) -> None:
        sock = self.by_version.get(version)
        if sock is None:
            return
        with suppress(OSError):
            if version == 4:
                via = struct.pack("@i4s4s", packet.interface, bytes(4), bytes(4))
                sock.sendmsg([packet.data], [(socket.IPPROTO_IP, _IP_PKTINFO, via)], 0, (host, port))
            else:
                sock.sendto(packet.data, (host, port, 0, packet.interface))


def receive(sock: socket.socket, limit: int) -> Iterator[Received]:
    """Yield at most `limit` of the packets that have come; of one that is too large only its sender."""
    for _ in range(limit):
        try:
            data, ancillary, flags, address = sock.recvmsg(MAX_PACKET_BYTES, _ANCILLARY_BYTES)
        except OSError:
            return
        if flags & socket.MSG_TRUNC:
            data = b""
        for level, kind, value in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
                yield Received(data, address[0], address[1], struct.unpack_from("@i", value)[0])
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                yield Received(data, address[0], address[1], struct.unpack_from("@i", value, 16)[0])


def _open(version: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other programs have the port too
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        if version == 4:
            level = socket.IPPROTO_IP
            options = [(_IP_PKTINFO, 1), (_IP_MULTICAST_ALL, 0)]
            options += [(socket.IP_MULTICAST_TTL, _HOPS), (socket.IP_TTL, _HOPS)]
        else:
            level = socket.IPPROTO_IPV6
            options = [(socket.IPV6_V6ONLY, 1), (socket.IPV6_RECVPKTINFO, 1)]
            options += [(socket.IPV6_MULTICAST_HOPS, _HOPS), (socket.IPV6_UNICAST_HOPS, _HOPS)]
            with suppress(OSError):  # Linux 4.20
                sock.setsockopt(level, _IPV6_MULTICAST_ALL, 0)
        for option, value in options:
            sock.setsockopt(level, option, value)
        sock.setblocking(False)
        sock.bind(("" if version == 4 else "::", MDNS_PORT))
    except OSError:
        sock.close()
        raise
    return sock


def _member(sock: socket.socket, version: int, index: int, *, join: bool) -> None:
    if version == 4:
        request = socket.inet_aton(GROUPS[4]) + bytes(4) + struct.pack("@i", index)
        option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
        sock.setsockopt(socket.IPPROTO_IP, option, request)
    else:
        request = socket.inet_pton(socket.AF_INET6, GROUPS[6]) + struct.pack("@I", index)
        option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
        sock.setsockopt(socket.IPPROTO_IPV6, option, request)
