"""What dialling a peer taught, on each network: which addresses worked, which failed, and how far away it is.

Also whether UDP gets any answer on a network. Only the order of later dials follows from it (plan.py): no
address is ever left out because of it. Bounded: what was used longest ago is forgotten. Pure; the caller
gives the network and the time, and hears when UDP is blocked or works again. Implements docs/protocol.md,
"Finding and dialling".
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from ....messages.types import Instant
from .addresses import Endpoint
from .plan import ROUND_TRIPS, Known

MAX_PEERS = 512
MAX_ENDPOINTS = 4
MAX_FAILED = 16
MAX_NETWORKS = 16
MAX_BAD_RELAYS = 8
FAILED_S = 600.0
"""For how long an address that failed, or a relay that turned bad, comes later."""
SILENT_PEERS = 4
"""UDP comes last once it got no answer from so many peers to which another way led, and from none since."""
UDP_RETRY_S = 600.0
"""After so long one dial tries UDP in its usual place again."""

Network = Hashable
"""What tells one network from another (interfaces.network)."""


@dataclass(slots=True)
class _Peer:
    worked: list[Endpoint] = field(default_factory=list)
    failed: dict[Endpoint, Instant] = field(default_factory=dict)
    bad_relays: dict[str, Instant] = field(default_factory=dict)
    round_trip_s: float | None = None


@dataclass(slots=True)
class _Udp:
    silent_peers: set[bytes] = field(default_factory=set)
    retry_at: Instant = 0.0


class DialHistory:
    """The memory of one dialler. `udp_changed` is called when `udp_is_blocked` has another value."""

    def __init__(self, udp_changed: Callable[[], None] = lambda: None) -> None:
        self._udp_changed = udp_changed
        self._peers: dict[tuple[Network, bytes], _Peer] = {}
        self._udp: dict[Network, _Udp] = {}

    def known(self, network: Network, peer: bytes, now: Instant) -> Known:
        """Return what is known for a race that begins now."""
        record = self._peers.get((network, peer), _Peer())
        failed = frozenset(one for one, at in record.failed.items() if now - at < FAILED_S)
        bad = frozenset(one for one, at in record.bad_relays.items() if now - at < FAILED_S)
        silent = self._udp_is_silent(network, now)
        return Known(tuple(record.worked), failed, record.round_trip_s, silent, bad)

    def worked(self, network: Network, peer: bytes, endpoint: Endpoint, took_s: float) -> None:
        """Note a connection, which was made in `took_s` seconds."""
        record = self._record(network, peer)
        record.worked = [endpoint, *(one for one in record.worked if one != endpoint)][:MAX_ENDPOINTS]
        record.failed.pop(endpoint, None)
        record.round_trip_s = took_s / ROUND_TRIPS[endpoint.transport]
        if endpoint.is_udp and self._udp.pop(network, None) is not None:
            self._udp_changed()

    def recall(self, network: Network, peer: bytes, endpoints: Sequence[Endpoint]) -> None:
        """Note addresses that worked before this process, the newest first; on which network is not known."""
        record = self._record(network, peer)
        record.worked = list(dict.fromkeys((*record.worked, *endpoints)))[:MAX_ENDPOINTS]

    def failed(self, network: Network, peer: bytes, endpoint: Endpoint, now: Instant) -> None:
        """Note an address that led to no connection."""
        record = self._record(network, peer)
        if endpoint in record.worked:
            record.worked.remove(endpoint)
        record.failed.pop(endpoint, None)
        record.failed[endpoint] = now
        if len(record.failed) > MAX_FAILED:
            del record.failed[next(iter(record.failed))]

    def relay_turned_bad(self, network: Network, peer: bytes, relay: str, now: Instant) -> None:
        """Note that a connection through a relay was of no use; that another stands does not change it."""
        record = self._record(network, peer)
        record.bad_relays.pop(relay, None)
        record.bad_relays[relay] = now
        if len(record.bad_relays) > MAX_BAD_RELAYS:
            del record.bad_relays[next(iter(record.bad_relays))]

    def forget_failures(self) -> None:
        """Forget what failed: this host was away from its network, and nothing of it says anything."""
        for record in self._peers.values():
            record.failed.clear()
            record.bad_relays.clear()
        self._udp.clear()
        self._udp_changed()

    def udp_was_silent(self, network: Network, peer: bytes, now: Instant) -> None:
        """Note that UDP got no answer from a peer to which another way has led meanwhile."""
        udp = self._udp.pop(network, None) or _Udp()
        self._udp[network] = udp
        if len(self._udp) > MAX_NETWORKS:
            del self._udp[next(iter(self._udp))]
        if len(udp.silent_peers) < SILENT_PEERS:
            udp.silent_peers.add(peer)
            self._udp_changed()
        udp.retry_at = now + UDP_RETRY_S

    @property
    def udp_is_blocked(self) -> bool:
        """Whether UDP gets no answer on the network on which it was last found silent, and not since."""
        return any(len(udp.silent_peers) >= SILENT_PEERS for udp in list(self._udp.values())[-1:])

    def _udp_is_silent(self, network: Network, now: Instant) -> bool:
        udp = self._udp.get(network)
        if udp is None or len(udp.silent_peers) < SILENT_PEERS:
            return False
        if now < udp.retry_at:
            return True
        udp.retry_at = now + UDP_RETRY_S  # this race tries again; the next one knows what came of it
        return False

    def _record(self, network: Network, peer: bytes) -> _Peer:
        key = (network, peer)
        record = self._peers.pop(key, None) or _Peer()
        self._peers[key] = record
        if len(self._peers) > MAX_PEERS:
            del self._peers[next(iter(self._peers))]
        return record
