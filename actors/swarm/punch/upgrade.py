"""Direct upgrade of a node's relayed connections (DCUtR), beside whatever they carry.

Who was dialled through a relay initiates, as libp2p specifies. Nothing waits for it: exchanges go on over the
relay, and each new one takes the direct connection once there is one (dial/dialer.py, `existing`). Owns the
upgrades that run, and that a relayed connection is closed once a direct one has taken over and nothing is
under way on it. Implements docs/protocol.md, "Direct upgrade".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import trio
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID

from ....messages.to_metrics import HolePunchOutcome
from ....messages.types import Instant
from ....protocol.peer_ids import peer_id_from_text
from ...base import now
from ..dial import addresses
from ..dial.addresses import RELAY_BLOCK, Endpoint, IpAddress
from ..dial.dialer import Dialer
from ..dial.hearsay import is_public
from ..kad.dht_client import readable_addresses
from ..library import streams
from ..library.connections import (
    address_block_of,
    close_connection,
    connection_kind,
    host_of,
    is_alive,
    transport_of,
)
from . import candidates, messages
from .attempt import Attempt
from .exchange import MAX_ROUND_TRIP_S, Dial, ExchangeError, Initiator, Responder
from .limits import MAX_UPGRADES, PUNCH_S, TargetLimit

RELAYED_GRACE_S: Final = 3.0
"""A relayed connection without streams is closed so long after a direct one has come."""
NEXT_MESSAGE_S: Final = PUNCH_S + 2 * MAX_ROUND_TRIP_S
"""How long a responder waits for the next message, while the initiator may still be at its attempt."""
IDENTIFY_S: Final = 2.0


class DirectUpgrade:
    """The upgrades of one node.

    `offers` returns the addresses at which a peer that dials at the same time may reach this node;
    `about_to_dial` is told of every packet to come; `count` gets the outcome of each upgrade.
    """

    def __init__(
        self,
        host: Any,
        dialer: Dialer,
        start_task: Callable[..., None],
        *,
        offers: Callable[[], Iterable[Endpoint]],
        about_to_dial: Callable[[Endpoint, bool], None] = lambda _endpoint, _from_listening_port: None,
        count: Callable[[HolePunchOutcome], None] = lambda _outcome: None,
        may_dial: Callable[[IpAddress], bool] = is_public,
    ) -> None:
        self._host = host
        self._dialer = dialer
        self._start_task = start_task
        self._offers = offers
        self._about_to_dial = about_to_dial
        self._count = count
        self._may_dial = may_dial
        self._targets = TargetLimit()
        self._running: dict[bytes, _Upgrade] = {}
        self._watched: set[Any] = set()
        """Relayed connections that are closed once they are idle."""
        host.libp2p.set_stream_handler(TProtocol(messages.PROTOCOL), self.handle)
        if host.quic is not None:
            host.quic.on_stray(self._heard_from)

    # Events of the node

    def connected(self, connection: Any) -> None:
        """There is a new connection: one to upgrade, or one that takes over."""
        peer = connection.muxed_conn.peer_id.to_bytes()
        if connection_kind(connection) == "direct":
            if peer in self._running:
                self._running[peer].connected(connection)
            for one in self._relayed(peer):
                self._start_task(self._close_when_idle, peer, one)
        elif self._dialer.direct(peer) is not None:
            self._start_task(self._close_when_idle, peer, connection)
        elif not connection.muxed_conn.is_initiator:
            self._start_task(self._initiate, connection)

    def identified(self, peer_id: ID) -> None:
        """Identify has found out where a peer listens: it may be reached as it is."""
        running = self._running.get(peer_id.to_bytes())
        if running is not None:
            running.identified.set()

    # The two roles

    async def _initiate(self, connection: Any) -> None:
        peer = connection.muxed_conn.peer_id.to_bytes()
        with self._upgrade(peer, connection) as upgrade:
            if upgrade is None:
                return
            async with trio.open_nursery() as both:
                both.start_soon(self._dial_as_it_is, upgrade)
                try:
                    await self._negotiate(upgrade)
                except (streams.StreamError, ExchangeError, messages.PunchMessageError, trio.TooSlowError):
                    upgrade.was_refused = True
                    # What identify tells may lead there all the same.
                    with trio.move_on_after(IDENTIFY_S + PUNCH_S):
                        await upgrade.direct.wait()
                both.cancel_scope.cancel()

    async def _negotiate(self, upgrade: "_Upgrade") -> None:
        """Do the initiator's part. Raises StreamError, ExchangeError, PunchMessageError, TooSlowError."""
        exchange = Initiator()
        stream = None
        try:
            while exchange.may_begin and not upgrade.direct.is_set():
                with trio.fail_after(MAX_ROUND_TRIP_S):
                    request = exchange.begin(self._told(), now())
                    answer = None if stream is None else await _asked_again(stream, request)
                    if stream is None or answer is None:
                        stream = await streams.begin_stream(upgrade.relayed, messages.PROTOCOL, request)
                        answer = await _read(stream)
                    dial = exchange.receive(answer, now())
                    await streams.write(stream, dial.data)
                await self._dial(upgrade, dial, is_client=False)
        finally:
            if stream is not None:
                await (streams.close if upgrade.direct.is_set() else streams.reset)(stream)

    async def handle(self, stream: Any) -> None:
        """Do the responder's part, for a peer that this node has dialled through a relay."""
        muxed = stream.muxed_conn
        peer: bytes = muxed.peer_id.to_bytes()
        relayed = next((one for one in self._relayed(peer) if one.muxed_conn is muxed), None)
        if relayed is None or not muxed.is_initiator:
            await streams.reset(stream)
            return
        with self._upgrade(peer, relayed) as upgrade:
            if upgrade is None:
                await streams.reset(stream)
                return
            try:
                await self._answer(upgrade, stream)
            except (streams.StreamError, ExchangeError, messages.PunchMessageError, trio.TooSlowError):
                upgrade.was_refused = not upgrade.has_dialled
            finally:
                self._host.inbound_roles.expect_no_more(peer)
                await streams.reset(stream)

    async def _answer(self, upgrade: "_Upgrade", stream: Any) -> None:
        """Raises StreamError, ExchangeError, PunchMessageError, TooSlowError."""
        exchange = Responder()
        while not upgrade.direct.is_set():
            with trio.fail_after(NEXT_MESSAGE_S):
                answer = exchange.receive(await _read(stream), self._told(), now())
            if isinstance(answer, Dial):
                await self._dial(upgrade, answer, is_client=True)
                if not exchange.may_go_on:
                    return
            else:
                # From now on, for the other side's SYN may be here before its SYNC.
                hosts = {one.host for one in self._filtered(answer.theirs, upgrade.relayed)}
                self._host.inbound_roles.expect(upgrade.peer, hosts, upgrade.comes_first)
                await streams.write(stream, answer.data)

    # Dials

    async def _dial(self, upgrade: "_Upgrade", dial: Dial, *, is_client: bool) -> None:
        targets = self._targets.allowed(self._filtered(dial.theirs, upgrade.relayed), now())
        await trio.sleep_until(trio.current_time() + max(dial.at - now(), 0.0))
        if upgrade.direct.is_set():
            return
        upgrade.has_dialled = True
        upgrade.attempt = Attempt(
            self._host, upgrade.peer, self._start_task, is_client=is_client, about_to_dial=self._about_to_dial
        )
        await upgrade.attempt.run(targets)

    async def _dial_as_it_is(self, upgrade: "_Upgrade") -> None:
        """Dial where the peer says in identify that it is: it may need no hole (a unilateral upgrade)."""
        with trio.move_on_after(IDENTIFY_S):  # a peer that was identified before is not again
            await upgrade.identified.wait()
        try:
            known = self._host.libp2p.get_peerstore().addrs(ID(upgrade.peer))
        except Exception:  # not in the peer store: it has told nothing
            return
        told = addresses.usable(readable_addresses(known))
        targets = self._targets.allowed(self._filtered(told, upgrade.relayed), now())
        if targets and not upgrade.direct.is_set():
            await self._dialer.dial_direct(upgrade.peer, targets)

    def _filtered(self, named: Sequence[Endpoint], relayed: Any) -> tuple[Endpoint, ...]:
        own = [one.ip for one in (*self._host.own_endpoints(), *self._offers()) if one.ip is not None]
        never = {*own, *self._relay_ips(relayed)}
        return candidates.dialled(named, never, self._may_dial)

    def _relay_ips(self, relayed: Any) -> set[IpAddress]:
        """Return where the relay of a connection is."""
        relay = (address_block_of(relayed.muxed_conn) or "").removeprefix(RELAY_BLOCK)
        connections = self._host.network.get_connections(ID(peer_id_from_text(relay))) if relay else []
        ips = (addresses.ip_of(host_of(one)) for one in connections)
        return {ip for ip in ips if ip is not None}

    def _told(self) -> tuple[Endpoint, ...]:
        return candidates.told(self._offers())

    def _heard_from(self, host: str, port: int) -> None:
        for upgrade in self._running.values():
            if upgrade.attempt is not None:
                upgrade.attempt.heard_from(host, port)

    # Their life

    @contextmanager
    def _upgrade(self, peer: bytes, relayed: Any) -> Iterator["_Upgrade | None"]:
        """Count an upgrade; None: there are enough, or one with this peer runs."""
        if peer in self._running or self._dialer.direct(peer) is not None:
            yield None
            return
        if len(self._running) >= MAX_UPGRADES:
            self._count("limited")
            yield None
            return
        upgrade = self._running[peer] = _Upgrade(peer, relayed)
        try:
            yield upgrade
        finally:
            del self._running[peer]
            self._count(upgrade.outcome)

    def _relayed(self, peer: bytes) -> list[Any]:
        found = self._host.network.get_connections(ID(peer))
        return [one for one in found if is_alive(one) and connection_kind(one) == "relayed"]

    async def _close_when_idle(self, peer: bytes, relayed: Any) -> None:
        """Close a relayed connection when nothing is under way on it, while there is a direct one.

        One task does that, however many direct ones come.
        """
        if relayed in self._watched:
            return
        self._watched.add(relayed)
        idle_since: Instant | None = None
        try:
            while is_alive(relayed) and self._dialer.direct(peer) is not None:
                moment = now()
                idle_since = None if relayed.streams else (idle_since or moment)
                if idle_since is not None and moment - idle_since >= RELAYED_GRACE_S:
                    await close_connection(relayed)
                    return
                with trio.move_on_after(RELAYED_GRACE_S / 2):
                    await relayed.event_closed.wait()
        finally:
            self._watched.discard(relayed)


class _Upgrade:
    """One that runs."""

    def __init__(self, peer: bytes, relayed: Any) -> None:
        self.peer = peer
        self.relayed = relayed
        self.attempt: Attempt | None = None
        self.identified = trio.Event()
        self.direct = trio.Event()
        self.has_dialled = False
        self.was_refused = False
        self._connection: Any | None = None

    def connected(self, connection: Any) -> None:
        """The peer is connected directly."""
        if self._connection is None:
            self._connection = connection
            self.direct.set()
        if self.attempt is not None:
            self.attempt.connected(connection)

    def comes_first(self, connection: Any | None) -> bool:
        """Return whether no direct connection came before this one; None: one that is still to be made."""
        return self._connection is None or self._connection is connection

    @property
    def outcome(self) -> HolePunchOutcome:
        """What became of it, for the metric."""
        if self._connection is None:
            return "refused" if self.was_refused else "failed"
        muxed, is_client = self._connection.muxed_conn, self.relayed.muxed_conn.is_initiator
        if muxed.is_initiator != is_client:
            return "dialled"
        match transport_of(muxed):
            case "tcp" | "quic" as transport:
                return transport
        return "dialled"


async def _asked_again(stream: Any, request: bytes) -> messages.Message | None:
    """Ask on the stream of the attempt before, as is specified.

    None: the other side has ended it. Those of go, rust and js do, and take another one.
    """
    try:
        await streams.write(stream, request)
        return await _read(stream)
    except streams.StreamError:
        await streams.reset(stream)
        return None


async def _read(stream: Any) -> messages.Message:
    return messages.read(await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES))
