"""This node as a relay: it grants reservations, and connects peers that cannot reach each other.

One task, with a helper for the other direction, carries each circuit: some KiB at a time, within both limits,
and whatever the peers do it ends when its time is over. Nothing is ever written into what is relayed, and
nothing of it is kept or looked at. Who may have what, limits.py decides. Never dials. Implements
docs/protocol.md, "Relays"; libp2p specs, relay/circuit-v2.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, get_args

import trio
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF

from ....messages.to_metrics import CircuitEnd
from ....protocol.peer_ids import peer_id_text
from ...base import now
from ..library import streams
from ..library.connections import address_block_of, connection_kind
from ..pairing.exchange_slots import ExchangeSlots
from . import messages
from .limits import Allowance, Circuit, Circuits, Reservations, ServiceLimits
from .messages import Status
from .vouchers import sign_voucher

REQUEST_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 8.0
"""For the target's answer: less than a client waits for the relay's."""
END_TIMEOUT_S: Final = 1.0
"""For who still reads or writes on a circuit that has ended."""
CHUNK_BYTES: Final = 16 * 1024
MAX_WAITING: Final = 128
MAX_WAITING_PER_BLOCK: Final = 32
MAX_WAITING_PER_PEER: Final = 8
"""HOP streams whose request has not come completely; one of a crowd that says nothing makes room."""
ENDS = get_args(CircuitEnd)
"""How a circuit ends, or does not come about."""


class RelayService:
    """The relay of one host. `direct` returns a live connection with a peer that runs over no relay."""

    def __init__(
        self,
        host: Any,
        addresses: Callable[[], Sequence[str]],
        direct: Callable[[bytes], Any | None],
        limits: ServiceLimits | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._host = host
        self._peer: bytes = host.get_id().to_bytes()
        self._addresses = addresses
        self._direct = direct
        self._limits = limits or ServiceLimits()
        self._changed = changed
        self._waiting = ExchangeSlots(MAX_WAITING, MAX_WAITING_PER_BLOCK, MAX_WAITING_PER_PEER)
        self._reservations = Reservations(self._limits)
        self._circuits = Circuits(self._limits)
        self.ended: Counter[str] = Counter()
        """Circuits by how they ended (ENDS)."""
        self.relayed_bytes = 0

    @property
    def reservations(self) -> int:
        """How many peers may be reached through this relay."""
        self._reservations.expire(now())
        return len(self._reservations)

    @property
    def circuits(self) -> int:
        """How many circuits there are now."""
        return len(self._circuits)

    def serve(self) -> None:
        """Offer to relay from now on."""
        self._host.set_stream_handler(TProtocol(messages.HOP_PROTOCOL), self.handle)

    def handle_disconnected(self, peer: bytes) -> None:
        """A connection has ended; if it was the last direct one with a peer, its reservation has too."""
        if self._direct(peer) is None:
            self._reservations.remove(peer)

    async def handle(self, stream: Any) -> None:
        """Serve one HOP stream: one request, and the circuit if it was one for a circuit."""
        peer: bytes = stream.muxed_conn.peer_id.to_bytes()
        limit = trio.CancelScope()
        slot = self._waiting.acquire(peer, address_block_of(stream.muxed_conn), limit.cancel)
        if slot is None:
            await streams.reset(stream)
            return
        limit.deadline = trio.current_time() + REQUEST_TIMEOUT_S
        request: messages.Reserve | messages.Connect | None = None
        try:
            with limit, suppress(streams.StreamError):
                data = await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
                request = messages.read_hop_request(data)
        except messages.RelayMessageError:
            await _answer(stream, messages.hop_status(Status.MALFORMED_MESSAGE))
            return
        finally:
            self._waiting.release(slot)
        if request is None:
            await streams.reset(stream)
            return
        if connection_kind(stream) == "relayed":
            await _answer(stream, messages.hop_status(Status.PERMISSION_DENIED))
        elif isinstance(request, messages.Reserve):
            await _answer(stream, self._reserve(peer, address_block_of(stream.muxed_conn)))
        else:
            await self._connect(stream, peer, request.peer)

    def _reserve(self, peer: bytes, address_block: str | None) -> bytes:
        if not self._reservations.reserve(peer, address_block, now()):
            return messages.hop_status(Status.RESERVATION_REFUSED)
        self._changed()
        expires = int(time.time()) + self._limits.reservation_life_s
        voucher = sign_voucher(self._host.get_private_key(), self._peer, peer, expires)
        granted = messages.Reservation(
            expires, tuple(self._addresses())[: messages.MAX_RELAY_ADDRESSES], voucher
        )
        return messages.hop_status(Status.OK, self._limits.of_circuit, granted, peer_id_text(self._peer))

    async def _connect(self, stream: Any, source: bytes, target: bytes) -> None:
        """Set a circuit up, and carry it until it ends."""
        connection = self._direct(target)
        if source == target or connection is None or not self._reservations.holds(target, now()):
            self._end("refused")
            await _answer(stream, messages.hop_status(Status.NO_RESERVATION))
            return
        circuit = self._circuits.begin(source, address_block_of(stream.muxed_conn), target, now())
        if circuit is None:
            self._end("refused")
            await _answer(stream, messages.hop_status(Status.RESOURCE_LIMIT_EXCEEDED))
            return
        self._changed()
        end = "failed"
        further = None
        try:
            with trio.CancelScope() as setting_up:
                circuit.give_way = setting_up.cancel
                further = await self._announce(connection, source)
            over = trio.Event()
            circuit.give_way = over.set
            if further is None:
                await _answer(stream, messages.hop_status(Status.CONNECTION_FAILED))
                return
            try:
                await streams.write(stream, messages.hop_status(Status.OK, self._limits.of_circuit))
                end = await self._carry(circuit, over, stream, further)
            except streams.StreamError:  # the source has gone meanwhile
                return
            finally:
                await streams.reset(stream)
                await streams.reset(further)
        finally:
            self._circuits.end(circuit)
            self._end(end)

    async def _announce(self, connection: Any, source: bytes) -> Any | None:
        """Return a stream to the target on which it takes the circuit; None if it does not."""
        request = messages.stop_request(source, self._limits.of_circuit)
        further = None
        try:
            with trio.fail_after(STOP_TIMEOUT_S):
                further = await streams.begin_stream(connection, messages.STOP_PROTOCOL, request)
                data = await streams.read_varint_message(further, messages.MAX_MESSAGE_BYTES)
                if messages.read_stop_answer(data).is_ok:
                    return further
        except (streams.StreamError, messages.RelayMessageError, trio.TooSlowError):
            pass
        except trio.Cancelled:
            if further is not None:
                await streams.reset(further)
            raise
        if further is not None:
            await streams.reset(further)
        return None

    async def _carry(self, circuit: Circuit, over: trio.Event, one: Any, other: Any) -> str:
        """Carry bytes both ways, within both limits, until it is over; return how that ended.

        The streams are reset then.

        Nobody is cancelled before both streams are reset, which lets go of whoever reads or writes them: who
        has its turn to write would hold this circuit's end up until its peer takes the packet
        (library/packet_writer.py).
        """
        ends: list[str] = []
        both_over = trio.Event()

        async def carry(source: Any, sink: Any) -> None:
            end = await _pipe(source, sink, Allowance(self._limits, self._count))
            ends.append(end)
            if len(ends) == 2:
                both_over.set()
            if end or len(ends) == 2:
                over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, one, other)
            nursery.start_soon(carry, other, one)
            with trio.move_on_after(circuit.expires_at - now()) as time_limit:
                await over.wait()
            self._circuits.end(circuit)  # its place is free, whatever the streams still take
            how = "duration" if time_limit.cancelled_caught else next(filter(None, ends), "closed")
            await streams.reset(one)
            await streams.reset(other)
            with trio.move_on_after(END_TIMEOUT_S):
                await both_over.wait()
            nursery.cancel_scope.cancel()
        return how

    def _count(self, size: int) -> None:
        self.relayed_bytes += size

    def _end(self, end: str) -> None:
        self.ended[end] += 1
        self._changed()


async def _pipe(source: Any, sink: Any, allowance: Allowance) -> str:
    """Carry one direction; return how the whole circuit ends by it, "" if only this half has ended."""
    try:
        while allowance.left:
            data = await source.read(min(CHUNK_BYTES, allowance.left))
            if not data:
                break
            allowance.spend(len(data))
            await sink.write(data)
        else:
            return "data"
        await sink.close_write()
    except StreamEOF:
        try:
            await sink.close_write()
        except Exception:  # as below
            return "closed"
    except Exception:  # the library raises many unrelated types for "gone"
        return "closed"
    return ""


async def _answer(stream: Any, message: bytes) -> None:
    """Write the last message of a HOP stream, and close it."""
    try:
        with trio.fail_after(REQUEST_TIMEOUT_S):
            await streams.write(stream, message)
    except (streams.StreamError, trio.TooSlowError):
        await streams.reset(stream)
    else:
        await streams.close(stream)
