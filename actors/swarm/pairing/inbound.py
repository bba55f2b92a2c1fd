"""Inbound exchanges: a peer opens a stream, sends one request frame and gets one response frame.

Owns the limits that protect sessions and the vault from strangers. Never opens a frame: what is sealed, and
what an attempt is, stay with the session. Implements docs/protocol.md, "Messages" and "Limits"; the path is
drawn in docs/architecture.md, "The path of a frame".
"""

from collections.abc import Callable
from typing import Any

import trio

from ....messages.base import MalformedMessageError, encode
from ....messages.peer_protocol import (
    PROTOCOL_ID,
    ChallengeConfirmation,
    ChallengeResponse,
    PairingDecision,
    PairingRequest,
    RefusalReason,
    Refused,
    WireRequest,
    decode_wire,
)
from ....messages.to_session import PeerRequest
from ....messages.to_vault import SettleRequest
from ...base import Mailbox, now
from ..library import multiplexer, streams
from ..library.connections import address_block_of, connection_kind, transport_of
from .ban_list import BanList
from .exchange_slots import ExchangeSlots
from .frame_routing import FrameRouting
from .pending_requests import ActorBusyError, ActorGoneError, NoAnswerError, PendingRequests
from .rate_limits import RepeatLimit

READ_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 5.0
EXCHANGE_TIMEOUT_S = 10.0
"""All of it together: the other side waits no longer (docs/protocol.md, "Limits")."""
SLOW_PAUSE_S = 1.0
_CLOSE_TIMEOUT_S = 2.0


class InboundExchanges:
    """Serves the pairing streams that peers open to one host."""

    def __init__(
        self,
        own_peer: bytes,
        routing: FrameRouting,
        mailbox: Mailbox[Any],
        bans: BanList,
        *,
        count_refusal: Callable[[RefusalReason], None],
        drop_peer: Callable[[bytes], Any],
    ) -> None:
        self._own_peer = own_peer
        self._routing = routing
        self._mailbox = mailbox
        self._bans = bans
        self._count_refusal = count_refusal
        self._drop_peer = drop_peer
        self._slots = ExchangeSlots(is_slow=lambda block: bans.is_slow(block, now()))
        self._repeats = RepeatLimit()
        self.pending = PendingRequests(mailbox)
        """Requests that wait for a session or the vault. The actor hands it what comes back (actor.py)."""

    async def handle(self, stream: Any) -> None:
        """Serve one stream from its first byte to its close: one exchange, read from top to bottom."""
        peer: bytes = stream.muxed_conn.peer_id.to_bytes()
        address_block = address_block_of(stream.muxed_conn)

        # Gate: a banned peer is not listened to, and loses its connections.
        if self._bans.is_banned(peer, now()):
            await streams.reset(stream)
            await self._drop_peer(peer)
            return

        # Slot: from here on the exchange may be evicted, while it waits for its peer.
        eviction = trio.CancelScope()
        slot = self._slots.acquire(peer, address_block, eviction.cancel)
        if slot is None:
            await streams.reset(stream)
            return
        try:
            with eviction:
                with trio.move_on_after(EXCHANGE_TIMEOUT_S) as deadline:
                    # Read. Rubbish counts as a strike; a peer that is slow or gone is no offender.
                    try:
                        with trio.fail_after(READ_TIMEOUT_S):
                            frame = await streams.read_frame(stream)
                        request = _decode_request(frame)
                    except (MalformedMessageError, streams.StreamProtocolError):
                        await streams.reset(stream)
                        await self._strike(peer, address_block)
                        return
                    except (streams.StreamError, trio.TooSlowError):
                        await streams.reset(stream)
                        return

                    # Respond. While a session or the vault works on it, the exchange is not evicted.
                    try:
                        with slot.waiting_for_actor():
                            response = await self._respond(request, frame, peer, address_block, stream)
                    except NoAnswerError:
                        await streams.reset(stream)
                        return

                    # Slow down a peer that sends rubbish, if its address block does so as a whole.
                    if self._bans.is_slowed(peer, address_block, now()):
                        await trio.sleep(SLOW_PAUSE_S)

                    # Write: the response and the end of this side's half, in one packet.
                    try:
                        with trio.fail_after(WRITE_TIMEOUT_S):
                            async with multiplexer.one_packet(stream):
                                await streams.write_frame(stream, response)
                                await stream.close()
                    except Exception:  # the peer is gone; it will repeat its request
                        await streams.reset(stream)
                        return

                # Close. This has a time-out of its own, outside of the exchange's.
                if not deadline.cancelled_caught:
                    await _wait_for_close(stream)
            if eviction.cancelled_caught or deadline.cancelled_caught:
                await streams.reset(stream)
        finally:
            self._slots.release(slot)

    async def _respond(
        self,
        request: WireRequest,
        frame: bytes,
        peer: bytes,
        address_block: str | None,
        stream: Any,
    ) -> bytes:
        """Return the response frame: a session's, the vault's, or a refusal. Raises NoAnswerError.

        The session is told what the connection of `stream` is, to show it.
        `frame` is forwarded as it came. `PendingRequests.call` sends it to the supervisor and sleeps. The
        reply arrives in the actor's mailbox, as a PeerReply: `SwarmActor` (actor.py) hands it to `pending`,
        which wakes the call.
        """
        # Whose is it? If nobody's, or a decoy's that names a joiner's code, that is a strike.
        actor = self._routing.session_of(self._own_peer, peer, request)
        reason: RefusalReason | None = None
        if actor is not None:
            reason = self._routing.refusal_for_joiner(actor, peer, request)
        elif not self._routing.belongs_to_vault(peer, request):
            if self._routing.is_finished(self._own_peer, peer, request, now()):
                return self._refuse(request, "closed")
            reason = _refusal_of_unknown(request)
        if reason is not None:
            await self._strike(peer, address_block)
            return self._refuse(request, reason)

        # Rate limit. By code and not by attempt: a peer has one attempt at a time, and can invent any number.
        if self._repeats.record(peer + request.code_id, now()):
            return self._refuse(request, "busy")

        # A session's.
        if actor is not None:
            number = self.pending.next_number()
            streams.note_use(stream.swarm_conn, PROTOCOL_ID)  # it is a pairing's, whoever has made it
            self._routing.record_forward(actor, peer)
            ahead = self._routing.evidence_ahead(actor, peer)
            how = (connection_kind(stream), transport_of(stream.muxed_conn))
            message = PeerRequest(number, peer, frame, *how)
            try:
                reply = await self.pending.call(number, actor, message, REPLY_TIMEOUT_S, ahead)
            except ActorBusyError:
                return self._refuse(request, "busy")
            except ActorGoneError:
                pass  # the session has just ended: go on as if it had not been found
            else:
                await self._tell_vault(actor, peer, request, reply)
                return reply

        # The decision of a known peer, whose session is over: the vault answers from its store. The peer may
        # have become known while the session had the frame, as the session's last act.
        if self._routing.belongs_to_vault(peer, request):
            number = self.pending.next_number()
            settle = SettleRequest(number, peer, frame)
            try:
                return await self.pending.call(number, "vault", settle, REPLY_TIMEOUT_S, [])
            except ActorBusyError:
                return self._refuse(request, "busy")

        # The session has ended while it had the frame: its code is finished.
        return self._refuse(request, "closed")

    async def _tell_vault(self, actor: str, peer: bytes, request: WireRequest, reply: bytes) -> None:
        """Tell the vault of the peer to which an initiator confirms that it has proved the code."""
        if not isinstance(request, ChallengeResponse):
            return
        try:
            confirmed = isinstance(decode_wire(reply), ChallengeConfirmation)
        except MalformedMessageError:  # of a session that has been taken over
            return
        evidence = self._routing.evidence(actor, peer) if confirmed else []
        if evidence:
            await self._mailbox.send_all(evidence)

    def _refuse(self, request: WireRequest, reason: RefusalReason) -> bytes:
        self._count_refusal(reason)
        return encode(Refused(request.code_id, request.attempt, reason))

    async def _strike(self, peer: bytes, address_block: str | None) -> None:
        """Count a strike; close the connections of a peer that is banned by it."""
        if self._bans.strike(peer, address_block, now()):
            await self._drop_peer(peer)


def _refusal_of_unknown(request: WireRequest) -> RefusalReason:
    return "closed" if isinstance(request, PairingDecision) else "unavailable"


def _decode_request(frame: bytes) -> WireRequest:
    """Decode a frame to route it by its kind, code_id and attempt. Raises MalformedMessageError.

    The session and the vault get the frame itself and decode it again, and the session compares the code_id
    again: they do not trust the swarm, which is exposed to strangers (docs/security.md, "Who holds what").
    """
    message = decode_wire(frame)
    if not isinstance(message, PairingRequest | ChallengeResponse | PairingDecision):
        raise MalformedMessageError("not a request")
    return message


async def _wait_for_close(stream: Any) -> None:
    """Wait a little for the peer to close its half too: a stream left half open would stay for ever."""
    with trio.move_on_after(_CLOSE_TIMEOUT_S):
        try:
            await stream.read(1)
        except Exception:  # closed or reset: both are an end
            return
    await streams.reset(stream)
