"""Inbound pairing streams: one request frame in, handed to whom it concerns, one response frame out.

Owns the limits that protect sessions from strangers. Never opens a frame: what is sealed and what an attempt
is stay with the session. Implements docs/protocol.md, "Messages" and "Limits".
"""

from collections.abc import Callable
from typing import Any

import trio

from ....messages.base import MalformedMessageError, encode
from ....messages.peer_protocol import (
    ChallengeResponse,
    PairingDecision,
    PairingRequest,
    RefusalReason,
    Refused,
    WireRequest,
    decode_wire,
)
from ....messages.session_names import session_of_actor
from ....messages.to_session import PeerRequest
from ....messages.to_vault import PeerEvidence, SettleRequest
from ....messages.types import ConnectionKind
from ...base import Send, now
from ..library import corrections, multiplexer, streams
from .frame_routing import Tables
from .limits import Abuse, Slot, Slots
from .pending_requests import ActorBusyError, ActorGoneError, NoAnswerError, Requests

READ_DEADLINE = 5.0
ANSWER_DEADLINE = 10.0
WRITE_DEADLINE = 5.0
EXCHANGE_DEADLINE = 10.0
"""All of it together: the other side waits no longer (docs/protocol.md, "Limits")."""
_LAST_WORDS = 2.0


def path_of(_connection: Any) -> ConnectionKind:
    """Return how a connection runs. Relayed ones do not exist yet."""
    return "direct"


class PairingPort:
    """Serves the streams of one host."""

    def __init__(
        self,
        own_peer: bytes,
        tables: Tables,
        requests: Requests,
        abuse: Abuse,
        refused: Callable[[RefusalReason], None],
        drop_peer: Callable[[bytes], Any],
        drop_block: Callable[[str], None],
    ) -> None:
        self._own_peer = own_peer
        self._tables = tables
        self._requests = requests
        self._abuse = abuse
        self._refused = refused
        self._drop_peer = drop_peer
        self._drop_block = drop_block
        self._slots = Slots()

    async def handle(self, stream: Any) -> None:
        """Serve one stream from its first byte to its close."""
        peer: bytes = stream.muxed_conn.peer_id.to_bytes()
        block = corrections.block_of(stream.muxed_conn)
        if self._abuse.is_blocked(peer, now()) or self._abuse.is_blocked(block, now()):
            await streams.reset(stream)
            await self._drop_peer(peer)
            return
        whole = trio.CancelScope()
        slot = self._slots.take(peer, block, whole.cancel)
        if slot is None:
            await streams.reset(stream)
            return
        try:
            with whole:
                with trio.move_on_after(EXCHANGE_DEADLINE) as in_time:
                    answered = await self._exchange(stream, slot)
                if not in_time.cancelled_caught and answered:
                    await _let_go(stream)
            if whole.cancelled_caught or in_time.cancelled_caught:
                await streams.reset(stream)
        finally:
            self._slots.give_back(slot)

    async def _exchange(self, stream: Any, slot: Slot) -> bool:
        """Take the request and answer it; return whether the answer has been written."""
        request = await self._read(stream, slot.peer, slot.block)
        if request is None:
            return False
        message, frame = request
        try:
            response = await self._answer(message, frame, slot, path_of(stream))
        except NoAnswerError:
            await streams.reset(stream)
            return False
        try:
            with trio.fail_after(WRITE_DEADLINE):
                async with multiplexer.together(stream):
                    await streams.write_frame(stream, response)
                    await stream.close()
        except Exception:  # the peer is gone; it asks again
            await streams.reset(stream)
            return False
        return True

    async def _read(self, stream: Any, peer: bytes, block: str | None) -> tuple[WireRequest, bytes] | None:
        try:
            with trio.fail_after(READ_DEADLINE):
                frame = await streams.read_frame(stream)
            message = decode_wire(frame)
            if not isinstance(message, PairingRequest | ChallengeResponse | PairingDecision):
                raise MalformedMessageError("not a request")
        except (MalformedMessageError, streams.StreamProtocolError):
            await streams.reset(stream)
            await self._strike(peer, block)
            return None
        except (streams.StreamError, trio.TooSlowError):
            await streams.reset(stream)
            return None
        return message, frame

    async def _answer(self, message: WireRequest, frame: bytes, slot: Slot, path: ConnectionKind) -> bytes:
        slot.waits_for_peer = False
        try:
            return await self._ask(message, frame, slot.peer, slot.block, path)
        finally:
            slot.waits_for_peer = True

    async def _ask(
        self, message: WireRequest, frame: bytes, peer: bytes, block: str | None, path: ConnectionKind
    ) -> bytes:
        if self._abuse.too_often(peer + message.attempt, now()):
            return self._refuse(message, "busy")
        actor = self._tables.owner(self._own_peer, peer, message)
        if actor is not None:
            try:
                return await self._ask_session(actor, frame, peer, path)
            except ActorBusyError:
                return self._refuse(message, "busy")
            except ActorGoneError:
                pass  # the session has ended meanwhile: as if it had never been found
        if self._tables.belongs_to_vault(peer, message):
            number = self._requests.number()
            settle = SettleRequest(number, peer, frame)
            try:
                return await self._requests.ask(number, "vault", settle, ANSWER_DEADLINE, [])
            except ActorBusyError:
                return self._refuse(message, "busy")
        if actor is None:
            await self._strike(peer, block)
        return self._refuse(message, "closed" if isinstance(message, PairingDecision) else "unavailable")

    async def _ask_session(self, actor: str, frame: bytes, peer: bytes, path: ConnectionKind) -> bytes:
        number = self._requests.number()
        vouch = (
            [Send("vault", PeerEvidence(session_of_actor(actor), peer))]
            if self._tables.needs_vouch(actor, peer)
            else []
        )
        self._tables.forwarded(actor, peer)
        return await self._requests.ask(
            number, actor, PeerRequest(number, peer, frame, path), ANSWER_DEADLINE, vouch
        )

    async def _strike(self, peer: bytes, block: str | None) -> None:
        if self._abuse.strike(peer, block, now()):
            if block is not None and self._abuse.is_blocked(block, now()):
                self._drop_block(block)
            await self._drop_peer(peer)

    def _refuse(self, message: WireRequest, reason: RefusalReason) -> bytes:
        self._refused(reason)
        return encode(Refused(message.code_id, message.attempt, reason))


async def _let_go(stream: Any) -> None:
    """Wait a little for the peer to close its half too; a stream left half open would stay for ever."""
    with trio.move_on_after(_LAST_WORDS):
        try:
            await stream.read(1)
        except Exception:  # closed or reset: both are an end
            return
    await streams.reset(stream)
