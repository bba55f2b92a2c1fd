"""Outbound exchanges: a session's Ask, and the decisions that the vault wants repeated (KnownPeer.settle).

One request frame on a new stream, one response frame back. A connection that fails is dropped and dialled
once again within the same deadline. Never opens a frame. Implements docs/protocol.md, "Messages", "Ending".
"""

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
from ....messages.session_names import session_of_actor
from ....messages.to_session import PeerAnswer, PeerUnreachable
from ....messages.to_swarm import Ask
from ....messages.to_vault import PeerEvidence, Settled
from ...base import Mailbox, Send, now
from ..dial.dialer import Dialer, UnreachableError
from ..library import streams
from .frame_routing import Tables
from .inbound import path_of
from .limits import RecentTable

_MOST = 2048
_MOST_OF_SESSION = 32
_SETTLE_TIMEOUT = 10.0
_SETTLE_PAUSE = 5.0


class Asking:
    """Runs the outbound exchanges of one host, each in a task of its own."""

    def __init__(self, dialer: Dialer, tables: Tables, mailbox: Mailbox[Any], nursery: trio.Nursery) -> None:
        self._dialer = dialer
        self._tables = tables
        self._mailbox = mailbox
        self._nursery = nursery
        self._running: dict[str, set[trio.CancelScope]] = {}
        self._settled_at: RecentTable[tuple[bytes, bytes], float] = RecentTable()
        self._settling: dict[bytes, trio.Event] = {}
        """By peer: set when there is a reason to look again."""

    async def ask(self, actor: str, ask: Ask) -> None:
        """Begin an Ask of a session."""
        mine = self._running.setdefault(actor, set())
        if len(mine) >= _MOST_OF_SESSION or sum(map(len, self._running.values())) >= _MOST:
            await self._mailbox.send(actor, PeerUnreachable(ask.request, "too many exchanges at once"))
            return
        scope = trio.CancelScope()
        mine.add(scope)
        self._nursery.start_soon(self._run_ask, actor, ask, scope)

    def end(self, actor: str) -> None:
        """Give up a session's exchanges."""
        for scope in self._running.get(actor, ()):
            scope.cancel()

    async def _run_ask(self, actor: str, ask: Ask, scope: trio.CancelScope) -> None:
        with scope:
            reason = "time-out"
            former = self._dialer.existing(ask.peer)
            with trio.move_on_after(ask.timeout) as deadline:
                try:
                    frame, connection = await self._exchange(ask.peer, ask.addresses, ask.frame)
                except Exception as error:  # whatever the library raises concerns this exchange alone
                    reason = _reason(error)
                else:
                    reason = ""
            if deadline.cancelled_caught and former is not None:
                # It may lead to nowhere without saying so: the next exchange dials again.
                await self._dialer.drop(former)
            if reason:
                await self._mailbox.send(actor, PeerUnreachable(ask.request, reason))
            else:
                self._tables.forwarded(actor, ask.peer)
                first = self._tables.needs_vouch(actor, ask.peer)
                vouch = [Send("vault", PeerEvidence(session_of_actor(actor), ask.peer))] if first else []
                answer = PeerAnswer(ask.request, frame, path_of(connection))
                await self._mailbox.send_all([*vouch, Send(actor, answer)])
        mine = self._running[actor]
        mine.discard(scope)
        if not mine:
            del self._running[actor]

    async def _exchange(self, peer: bytes, addresses: tuple[str, ...], frame: bytes) -> tuple[bytes, Any]:
        """Send a frame and return the response and its connection; a failed connection gets one successor."""
        existed = self._dialer.existing(peer) is not None
        connection = await self._dialer.connect(peer, addresses)
        try:
            return await _one_exchange(connection, frame), connection
        except streams.StreamProtocolError:
            raise
        except streams.StreamError:
            await self._dialer.drop(connection)
            if not existed:
                raise
        connection = await self._dialer.connect(peer, addresses)
        return await _one_exchange(connection, frame), connection

    def contact(self, peer: bytes) -> None:
        """There is a connection with `peer`: repeat a decision to it, as long as the vault wants that."""
        known = self._tables.known.get(peer)
        if peer in self._settling:
            self._settling[peer].set()
        elif known is not None and known.settle is not None:
            self._settling[peer] = trio.Event()
            self._nursery.start_soon(self._settle, peer)

    async def _settle(self, peer: bytes) -> None:
        """Put each decision that the vault names to the peer, now and then, while there is a connection."""
        try:
            while (known := self._tables.known.get(peer)) is not None and known.settle is not None:
                pause = self._pause(peer, known.settle)
                if pause <= 0:
                    await self._settle_once(peer, known.settle)
                else:
                    self._settling[peer] = trio.Event()
                    with trio.move_on_after(pause):
                        await self._settling[peer].wait()  # the vault names another one, or it is back
                if self._dialer.existing(peer) is None:
                    break
        finally:
            del self._settling[peer]

    def _pause(self, peer: bytes, frame: bytes) -> float:
        """Return for how long this decision is not to be put again."""
        last = self._settled_at.get((peer, frame[-32:]))
        return 0.0 if last is None else last + _SETTLE_PAUSE - now()

    async def _settle_once(self, peer: bytes, frame: bytes) -> None:
        self._settled_at.put((peer, frame[-32:]), now())
        with trio.move_on_after(_SETTLE_TIMEOUT):
            try:
                answer, _connection = await self._exchange(peer, (), frame)
            except Exception:  # as in _run_ask; it is tried again
                return
            if peer in self._tables.known:
                await self._mailbox.send("vault", Settled(peer, answer))


async def _one_exchange(connection: Any, frame: bytes) -> bytes:
    async with streams.open_stream(connection, PROTOCOL_ID, streams.as_frame(frame)) as stream:
        response = await streams.read_frame(stream)
        if not isinstance(
            decode_wire(response), Challenge | ChallengeConfirmation | DecisionReceived | Refused
        ):
            raise MalformedMessageError("not a response")
        return response


def _reason(error: Exception) -> str:
    if isinstance(error, MalformedMessageError | streams.StreamProtocolError):
        return "protocol"
    if isinstance(error, UnreachableError | streams.StreamError):
        return str(error)[:200]
    return "failed"
