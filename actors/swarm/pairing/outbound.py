"""Outbound exchanges: for a session (Ask), or to repeat a decision for the vault (KnownPeer.settle).

One request frame on a new stream, one response frame back. A connection that is dead is dropped, and the peer
is dialled once more within the same deadline; a stream that fails on a live one fails alone. Never opens a
frame: a response is decoded only to see that it is one, and the session or the vault, which do not trust the
swarm, decode it again.
Implements docs/protocol.md, "Messages" and "Settling".
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from ....messages.base import MalformedMessageError
from ....messages.peer_protocol import (
    PROTOCOL_ID,
    Challenge,
    ChallengeConfirmation,
    DecisionReceived,
    Refused,
    decode_wire,
)
from ....messages.to_session import PeerAnswer, PeerUnreachable
from ....messages.to_swarm import Ask
from ....messages.to_vault import Settled
from ...base import Mailbox, Send, now
from ..dial.dialer import Dialer, UnreachableError
from ..library import streams
from ..library.connections import connection_kind, is_alive, transport_of
from .exchange_slots import MAX_EXCHANGES_PER_PEER as MAX_EXCHANGES_OF_THE_OTHER_SIDE
from .frame_routing import FrameRouting
from .recent_table import RecentTable

_MAX_EXCHANGES = 2048
_MAX_EXCHANGES_PER_SESSION = 32
MAX_EXCHANGES_PER_PEER = MAX_EXCHANGES_OF_THE_OTHER_SIDE // 2
"""That this side runs with one peer at once. A peer frees the slot of an exchange a moment after its answer
has arrived here, so at most twice as many are open there: never one too many, which it would reset."""
_SETTLE_TIMEOUT_S = 10.0
_SETTLE_PAUSE_S = 5.0
"""The same decision is repeated to the same peer at most so often."""
_DECISION_ID_BYTES = 32
"""The last bytes of a decision's frame, which tell decisions apart."""


@dataclass(slots=True)
class _Used:
    """The connection on which an exchange waits for its answer, and since when."""

    connection: Any = None
    since: float = 0.0

    def note(self, connection: Any) -> None:
        self.connection, self.since = connection, now()


class OutboundExchanges:
    """Runs the outbound exchanges of one host, each in a task of its own."""

    def __init__(
        self, dialer: Dialer, routing: FrameRouting, mailbox: Mailbox[Any], nursery: trio.Nursery
    ) -> None:
        self._dialer = dialer
        self._routing = routing
        self._mailbox = mailbox
        self._nursery = nursery
        self._running: dict[str, set[trio.CancelScope]] = {}
        """By the actor name of the session."""
        self._turns: dict[bytes, trio.CapacityLimiter] = {}
        """By peer, while there are exchanges with it."""
        self._settled_at: RecentTable[tuple[bytes, bytes], float] = RecentTable()
        """When a decision was last repeated: by peer and the end of the frame."""
        self._settling: dict[bytes, trio.Event] = {}
        """By peer, while a task repeats decisions to it; the event is set to make that task look again."""

    async def start(self, actor: str, ask: Ask) -> None:
        """Start the exchange that a session asks for. The answer is a PeerAnswer or a PeerUnreachable."""
        scopes = self._running.setdefault(actor, set())
        exchanges = sum(map(len, self._running.values()))
        if len(scopes) >= _MAX_EXCHANGES_PER_SESSION or exchanges >= _MAX_EXCHANGES:
            await self._mailbox.send(actor, PeerUnreachable(ask.request, "too many exchanges at once"))
            return
        self._routing.record_request(actor, ask.peer, ask.frame)
        scope = trio.CancelScope()
        scopes.add(scope)
        self._nursery.start_soon(self._run, actor, ask, scope)

    def cancel_session(self, actor: str) -> None:
        """Cancel the exchanges of a session that has ended."""
        for scope in self._running.get(actor, ()):
            scope.cancel()

    async def _run(self, actor: str, ask: Ask, scope: trio.CancelScope) -> None:
        with scope:
            failure = "time-out"
            former, used = None, _Used()
            with trio.move_on_after(ask.timeout) as deadline:
                async with self._turn(ask.peer):
                    former = self._dialer.existing(ask.peer)
                    try:
                        frame, connection = await self._exchange(ask, used)
                    except Exception as error:  # whatever the library raises concerns this exchange alone
                        failure = _failure_text(error)
                    else:
                        failure = ""
            had_time = used.connection is former or now() - used.since >= ask.timeout / 2
            if deadline.cancelled_caught and used.connection is not None and had_time:
                # It may be dead without a sign of it, or its relay lets nothing through: the next exchange
                # dials again.
                await self._dialer.drop(used.connection)
            if failure:
                await self._mailbox.send(actor, PeerUnreachable(ask.request, failure))
            else:
                self._routing.record_forward(actor, ask.peer)
                ahead = self._routing.evidence_ahead(actor, ask.peer)
                answer = PeerAnswer(
                    ask.request, frame, connection_kind(connection), transport_of(connection.muxed_conn)
                )
                await self._mailbox.send_all([*ahead, Send(actor, answer)])
        scopes = self._running[actor]
        scopes.discard(scope)
        if not scopes:
            del self._running[actor]

    @asynccontextmanager
    async def _turn(self, peer: bytes) -> AsyncIterator[None]:
        """Wait until there are fewer than MAX_EXCHANGES_PER_PEER exchanges with `peer`; count this one."""
        turns = self._turns.setdefault(peer, trio.CapacityLimiter(MAX_EXCHANGES_PER_PEER))
        try:
            async with turns:
                yield
        finally:
            statistics = turns.statistics()
            if not (statistics.borrowed_tokens or statistics.tasks_waiting):
                self._turns.pop(peer, None)

    async def _exchange(self, ask: Ask, used: "_Used") -> tuple[bytes, Any]:
        """Send the frame; return (response frame, its connection).

        If a connection that existed before is dead, the peer is dialled once more.
        """
        existed = self._dialer.existing(ask.peer) is not None
        connection = await self._dialer.connect(ask.peer, ask.addresses, ask.hearsay)
        used.note(connection)
        try:
            return await _exchange_on(connection, ask.frame), connection
        except streams.StreamError as error:
            # A peer may reset one stream, for lack of a slot or because it does not speak the protocol yet,
            # while its other streams go on.
            if is_alive(connection) and not isinstance(error, streams.StreamNotOpenedError):
                if existed:
                    raise
                # Some lose a stream that comes with the negotiation (js-libp2p 3): docs/decisions/0004.
                return await _exchange_on(connection, ask.frame), connection
            await self._dialer.drop(connection)
            if not existed:
                raise
        connection = await self._dialer.connect(ask.peer, ask.addresses, ask.hearsay)
        used.note(connection)
        return await _exchange_on(connection, ask.frame), connection

    def settle(self, peer: bytes) -> None:
        """Repeat a decision to `peer`, as long as the vault wants that and there is a connection."""
        known = self._routing.known.get(peer)
        if peer in self._settling:
            self._settling[peer].set()
        elif known is not None and known.settle is not None:
            self._settling[peer] = trio.Event()
            self._nursery.start_soon(self._run_settling, peer)

    async def _run_settling(self, peer: bytes) -> None:
        """Repeat each decision that the vault names, until none is left or the connection is gone."""
        try:
            while (known := self._routing.known.get(peer)) is not None and known.settle is not None:
                pause = self._pause_before(peer, known.settle)
                if pause <= 0:
                    await self._settle_once(peer, known.settle)
                else:
                    self._settling[peer] = trio.Event()
                    with trio.move_on_after(pause):
                        await self._settling[peer].wait()  # another decision, or a new connection
                if self._dialer.existing(peer) is None:
                    break
        finally:
            del self._settling[peer]

    def _pause_before(self, peer: bytes, frame: bytes) -> float:
        """Return the seconds until this decision may be repeated again; 0 or less: now."""
        last = self._settled_at.get((peer, frame[-_DECISION_ID_BYTES:]))
        return 0.0 if last is None else last + _SETTLE_PAUSE_S - now()

    async def _settle_once(self, peer: bytes, frame: bytes) -> None:
        self._settled_at.store((peer, frame[-_DECISION_ID_BYTES:]), now())
        with trio.move_on_after(_SETTLE_TIMEOUT_S):
            try:
                async with self._turn(peer):
                    answer, _connection = await self._exchange(Ask(0, peer, (), frame), _Used())
            except Exception:  # as in _run; it is repeated later
                return
            if peer in self._routing.known:
                await self._mailbox.send("vault", Settled(peer, answer))


async def _exchange_on(connection: Any, frame: bytes) -> bytes:
    """Do one exchange on a new stream of this connection."""
    async with streams.open_stream(connection, PROTOCOL_ID, streams.as_frame(frame)) as stream:
        response = await streams.read_frame(stream)
        if not isinstance(
            decode_wire(response), Challenge | ChallengeConfirmation | DecisionReceived | Refused
        ):
            raise MalformedMessageError("not a response")
        return response


def _failure_text(error: Exception) -> str:
    if isinstance(error, MalformedMessageError | streams.StreamProtocolError):
        return "protocol"
    if isinstance(error, UnreachableError | streams.StreamError):
        return str(error)[:200]
    return "failed"
