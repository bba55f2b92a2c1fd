"""Watches the connections of the running host for evidence of its reachability, and has addresses checked.

Owns the tasks of the checks, and what is told when something has changed. What counts is core.py's. A node
that keeps to its host or local network asks nobody and is asked by nobody. Never dials for itself: it asks
the AutoNAT servers with which there are connections. Implements docs/protocol.md, "Reachability".
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import trio
from libp2p.custom_types import TProtocol

from ....messages.to_swarm import ReachabilityEvidence
from ....messages.types import Instant, Reachability
from ...base import now
from ..dial import addresses, interfaces
from ..dial.addresses import AddressError, Endpoint, IpAddress
from ..library.connections import host_of, local_port_of, transport_of
from .autonat_client import AutonatClient
from .autonat_messages import DIAL_BACK_PROTOCOL, DIAL_REQUEST_PROTOCOL
from .checks import Check
from .contacts import Port
from .core import MAX_KEPT_NETWORKS, ReachabilityCore

_MAX_WAIT_S: Final = 60.0
"""So often the interfaces are looked at without any event."""
_KEEP_INTERVAL_S: Final = 60.0
_NOTE_INTERVAL_S: Final = 60.0
"""So often it is noted with whom there are connections: something is sent on each, as long as it lives."""
_SETTLE_S: Final = 0.2
"""Evidence often comes in several pieces: after the first, more is waited for."""


class ReachabilityWatch:
    """The reachability of one node. `fixed`: it keeps to its host or network, and nothing is to be found out.

    `existing` returns a live connection with a peer, or None; `changed` is called when `state` or `confirmed`
    have become others; `start_task` runs a task of the node; `keep` gets what `resume` wants after a restart.
    """

    def __init__(
        self,
        libp2p_host: Any,
        *,
        listening: Sequence[Endpoint],
        announced: Sequence[Endpoint],
        is_configured: bool,
        fixed: Reachability | None,
        existing: Callable[[bytes], Any | None],
        start_task: Callable[..., None],
        changed: Callable[[], None],
        observe: Callable[[str], None] = lambda _outcome: None,
        keep: Callable[[ReachabilityEvidence], None] = lambda _evidence: None,
        interfaces_of_host: Callable[[], Iterable[IpAddress]] = addresses.own_addresses,
        network_of_host: Callable[[], frozenset[str]] = interfaces.network,
    ) -> None:
        self._listening = listening
        self._fixed = fixed
        self._existing = existing
        self._start_task = start_task
        self._changed = changed
        self._observe = observe
        self._keep = keep
        self._keeps_at: Instant = 0.0
        self._live: weakref.WeakKeyDictionary[Any, tuple[str, Port | None]] = weakref.WeakKeyDictionary()
        """The connections that did not come unasked: the IP address of the other side, and the listening port
        that each leaves from. One that has come unasked needed no hole."""
        self._notes_at: Instant = 0.0
        self._core = ReachabilityCore(listening, announced, interfaces_of_host, is_configured=is_configured)
        self._client = AutonatClient(self._ports)
        self._news = trio.Event()
        self._announced = announced
        self._network_of_host = network_of_host
        self._network = None if fixed else network_of_host()
        self._kept = self._core.kept(self._network or ())
        self.state: Reachability = fixed or "unknown"
        self.confirmed: tuple[Endpoint, ...] = ()
        """Addresses beside those of the interfaces at which this node is reachable."""
        if fixed is None:
            libp2p_host.set_stream_handler(TProtocol(DIAL_BACK_PROTOCOL), self._client.handle_dial_back)

    # Events of the node

    def dialling(self, endpoint: Endpoint, *, from_listening_port: bool = False) -> None:
        """A dial to an IP address begins; those of QUIC leave from the listening port always."""
        opens = endpoint.is_udp or from_listening_port
        self._core.dialled(endpoint.host, now(), _port_of(endpoint) if opens else None)

    def connected(self, connection: Any) -> None:
        """There is a new connection."""
        self._client.connected(connection)
        host, endpoint = host_of(connection), self._endpoint_of(connection)
        if host is None:
            return
        is_outbound = connection.muxed_conn.is_initiator
        if not is_outbound and endpoint is not None and self._core.accepted(host, endpoint, now()):
            self._observe("unsolicited")
            self._wake()
            return
        self._live[connection] = host, None if endpoint is None else _port_of(endpoint)

    def disconnected(self, connection: Any) -> None:
        """A connection has ended; what it has opened stays open for a while."""
        host, endpoint = host_of(connection), self._endpoint_of(connection)
        live = self._live.pop(connection, None)
        if live is not None:
            self._core.dialled(live[0], now(), live[1])
        elif host is not None:
            self._core.dialled(host, now(), None if endpoint is None else _port_of(endpoint))
        peer = connection.muxed_conn.peer_id.to_bytes()
        if self._existing(peer) is None:
            self._core.remove_server(peer)

    def seen_as(self, connection: Any, text: str) -> None:
        """The other side of a connection says from which address it came."""
        observer = host_of(connection)
        if observer is None or not connection.muxed_conn.is_initiator:
            return
        try:
            seen = addresses.parse(text)
        except AddressError:
            return
        if seen.transport == transport_of(connection.muxed_conn):
            is_listening = self._endpoint_of(connection) is not None
            self._core.seen_as(observer, seen, now(), from_listening_port=is_listening)
            self._wake()

    def identified(self, peer: bytes, protocols: Iterable[str]) -> None:
        """A connected peer speaks these protocols."""
        connection = self._existing(peer)
        host = None if connection is None else host_of(connection)
        if host is not None and DIAL_REQUEST_PROTOCOL in protocols:
            self._core.add_server(peer, host)
            self._wake()
        else:
            self._core.remove_server(peer)

    def set_mappings(self, mappings: Sequence[Endpoint]) -> None:
        """The gateway has opened these for this node, and no others."""
        self._core.set_mappings(mappings, now())
        self._wake()

    def network_changed(self, announced: Sequence[Endpoint]) -> None:
        """Look at the interfaces anew, with what is announced of them now."""
        self._announced = announced
        self._wake()

    def interrupted(self, connected: Iterable[str]) -> None:
        """Whoever is left of the peers is at these IP addresses: all else has to be proved again."""
        self._core.interrupted(connected, now())
        self._wake()

    def resume(self, kept: ReachabilityEvidence) -> None:
        """Take up what was known before this process, unless that was in another network."""
        if self._network is None or kept.network != tuple(sorted(self._network))[:MAX_KEPT_NETWORKS]:
            return
        try:
            self._core.resume(kept, now())
        except AddressError:  # that process was not what it should have been: all is found out anew
            self._core.network_changed(self._announced)
            return
        self._kept = kept
        self.state, self.confirmed = self._core.state(now()), self._core.confirmed(now())

    def offers(self) -> tuple[Endpoint, ...]:
        """Return where a peer that dials at the same time may reach this node."""
        return self._core.offers(now())

    # The tasks

    async def run(self) -> None:
        """Have addresses checked, for as long as the node runs."""
        if self._fixed is not None:
            return
        while True:
            self._look_at_network()
            moment = now()
            self._note_live(moment)
            for check in self._core.begin_checks(moment):
                self._start_task(self._check, check)
            self._tell_changes()
            pause = min(max(self._core.wake_at(moment) - moment, 0.0), _MAX_WAIT_S)
            with trio.move_on_after(pause):
                await self._news.wait()
                await trio.sleep(_SETTLE_S)  # not a wait for an event: see there
            self._news = trio.Event()

    async def _check(self, check: Check) -> None:
        outcome = None
        try:
            connection = self._existing(check.server)
            outcome = (
                "refused" if connection is None else await self._client.check(connection, check.endpoint)
            )
        finally:
            self._core.end_check(check, outcome or "refused", now())
        self._observe(outcome)
        self._wake()

    def _note_live(self, moment: Instant) -> None:
        """A NAT lets in what comes from where this node is connected, however long ago that has begun."""
        if moment >= self._notes_at:
            self._notes_at = moment + _NOTE_INTERVAL_S
            for host, port in list(self._live.values()):
                self._core.dialled(host, moment, port)

    def _look_at_network(self) -> None:
        network = self._network_of_host()
        if network != self._network:
            self._network = network
            self._core.network_changed(self._announced)

    def _tell_changes(self) -> None:
        moment = now()
        state, confirmed = self._core.state(moment), self._core.confirmed(moment)
        if (state, confirmed) != (self.state, self.confirmed):
            self.state, self.confirmed = state, confirmed
            self._keeps_at = moment
            self._changed()
        self._keep_evidence(moment)

    def _keep_evidence(self, moment: Instant) -> None:
        """Have the evidence kept, at once when it has led to something else, and sometimes beside."""
        evidence = self._core.kept(self._network or ())
        if moment >= self._keeps_at and evidence != self._kept:
            self._kept, self._keeps_at = evidence, moment + _KEEP_INTERVAL_S
            self._keep(evidence)

    def _wake(self) -> None:
        self._news.set()

    def _ports(self, endpoint: Endpoint) -> frozenset[int]:
        """Return the ports at which this node listens for what comes to an address of its own."""
        fitting = (one for one in self._listening if _is_same_kind(one, endpoint))
        return frozenset(one.port for one in fitting)

    def _endpoint_of(self, connection: Any) -> Endpoint | None:
        """Return the listening endpoint whose port a connection uses on this side; None: another port."""
        muxed = connection.muxed_conn
        port, host, transport = local_port_of(muxed), host_of(connection), transport_of(muxed)
        family = "ip6" if ":" in (host or "") else "ip4"
        of_port = partial(_has, transport=transport, family=family, port=port)
        return next((one for one in self._listening if of_port(one)), None)


def _has(endpoint: Endpoint, *, transport: str, family: str, port: int | None) -> bool:
    return (endpoint.transport, endpoint.family, endpoint.port) == (transport, family, port)


def _is_same_kind(one: Endpoint, other: Endpoint) -> bool:
    return (one.transport, one.family) == (other.transport, other.family)


def _port_of(endpoint: Endpoint) -> Any:
    return "udp" if endpoint.is_udp else "tcp"
