"""Which of the packets that come are read at all: most are dropped after a look at where they come from.

A sender must be in a network of the interface on which its packet came (RFC 6762, section 11), and may send
so many packets a second. What is about other services is dropped unread. One who goes on far beyond his limit
is blocked for a while: the kernel drops what he sends (packet_filter.py), and others find room in the buffer.

Owns the counts by sender and by reason. Sans-IO.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import get_args

from ...messages.to_metrics import MdnsOutcome
from ...messages.types import Instant
from ...protocol.multiaddrs import IpAddress
from .dns_messages import DnsError, DnsMessage, decode
from .interfaces import Interface
from .packets import MDNS_PORT, Place
from .service import MARK
from .token_bucket import TokenBucket

SOURCE_PACKETS_PER_SECOND = 20.0
SOURCE_BURST = 60.0
READ_PACKETS_PER_SECOND = 300.0
"""That are parsed, of all senders together."""
MAX_SOURCES = 256
BLOCK_AFTER_PACKETS = 500
"""Beyond its limit, within BLOCK_WINDOW_SECONDS."""
BLOCK_WINDOW_SECONDS = 5.0
BLOCK_SECONDS = 10.0
MAX_BLOCKED = 32
"""Senders of each IP version that are blocked at once."""


@dataclass(slots=True)
class _Source:
    ip: IpAddress
    on_link: bool
    bucket: TokenBucket
    window_ends: Instant = 0.0
    excess: int = 0


@dataclass(slots=True)
class Admission:
    """Judges packets, on the interfaces that it is given."""

    counts: dict[MdnsOutcome, int] = field(default_factory=lambda: dict.fromkeys(get_args(MdnsOutcome), 0))
    blocked: dict[IpAddress, Instant] = field(default_factory=dict)
    """Who is blocked, and until when."""
    _interfaces: dict[int, Interface] = field(default_factory=dict)
    _sources: dict[tuple[str, int], _Source] = field(default_factory=dict)
    _reading: TokenBucket = field(
        default_factory=lambda: TokenBucket(READ_PACKETS_PER_SECOND, READ_PACKETS_PER_SECOND)
    )

    def set_interfaces(self, interfaces: Iterable[Interface]) -> None:
        """Judge by the networks of these interfaces from now on."""
        found = {interface.index: interface for interface in interfaces}
        if found != self._interfaces:
            self._interfaces = found
            self._sources.clear()

    def admit(
        self, data: bytes, sender: str, port: int, interface: int, now: Instant
    ) -> tuple[Place, DnsMessage] | None:
        """Return the message in a packet, and where it came from; None if it is dropped."""
        source = self._source(sender, interface)
        if source is None or not source.on_link:
            self.counts["off_link"] += 1
        elif not source.bucket.take(now):
            self.counts["too_many"] += 1
            self._count_excess(source, now)
        elif MARK not in data.lower():
            self.counts["other_service"] += 1
        elif not self._reading.take(now):
            self.counts["too_many"] += 1
        else:
            try:
                message = decode(data)
            except DnsError:
                message = None
            if message is not None and not (message.response and port != MDNS_PORT):
                self.counts["read"] += 1
                return Place(interface, source.ip, port), message
            self.counts["malformed"] += 1
        return None

    def unblock(self, now: Instant) -> None:
        """Let those send again whose time is over."""
        for ip in [ip for ip, until in self.blocked.items() if until <= now]:
            del self.blocked[ip]

    def _source(self, sender: str, interface: int) -> _Source | None:
        key = sender, interface
        source = self._sources.pop(key, None)
        if source is None:
            there = self._interfaces.get(interface)
            if there is None:
                return None
            ip = ip_address(sender.partition("%")[0])
            if len(self._sources) >= MAX_SOURCES:
                del self._sources[next(iter(self._sources))]  # of which nothing has come for longest
            source = _Source(ip, _is_on_link(ip, there), TokenBucket(SOURCE_PACKETS_PER_SECOND, SOURCE_BURST))
        self._sources[key] = source
        return source

    def _count_excess(self, source: _Source, now: Instant) -> None:
        if now >= source.window_ends:
            source.window_ends, source.excess = now + BLOCK_WINDOW_SECONDS, 0
        source.excess += 1
        if source.excess < BLOCK_AFTER_PACKETS or source.ip in self.blocked:
            return
        same = [ip for ip in self.blocked if ip.version == source.ip.version]
        if len(same) < MAX_BLOCKED:
            self.blocked[source.ip] = now + BLOCK_SECONDS


def _is_on_link(ip: IpAddress, interface: Interface) -> bool:
    return (ip.version == 6 and ip.is_link_local) or interface.reaches(ip)
