"""Asks one AutoNAT server about one address of this node, and takes the nonce that comes back.

Owns the streams of both protocols on this side. What proves something is nonces.py's. Never dials: the
question goes over a connection that exists. Implements docs/protocol.md, "Reachability".
"""

import secrets
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio
import varint
from multiaddr import Multiaddr

from ....messages.types import Instant
from ...base import now
from ..dial.addresses import Endpoint
from ..library import streams
from ..library.connections import address_block_of, host_of, local_port_of, transport_of
from ..pairing.exchange_slots import ExchangeSlots
from .autonat_messages import (
    DIAL_BACK_RESPONSE,
    DIAL_REQUEST_PROTOCOL,
    MAX_DATA_BYTES,
    MAX_DIAL_DATA_BYTES,
    MAX_MESSAGE_BYTES,
    AutonatMessageError,
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    Message,
    ResponseStatus,
    decode,
    decode_dial_back,
    encode,
)
from .checks import Outcome
from .nonces import Arrival, Nonces

CHECK_TIMEOUT_S: Final = 40.0
"""A server waits for data, pauses and dials meanwhile."""
DIAL_BACK_TIMEOUT_S: Final = 5.0
MAX_DIAL_BACKS: Final = 16
MAX_DIAL_BACKS_PER_BLOCK: Final = 8
MAX_DIAL_BACKS_PER_PEER: Final = 2
"""Streams with nonces that are read at once; one of a crowd that says nothing makes room."""
DATA_BUDGET_BYTES: Final = 1_000_000
DATA_BUDGET_S: Final = 3600.0
"""So much dial data is sent in an hour, to all servers together."""


class AutonatClient:
    """The checks under way. `ports` returns the ports at which a nonce about an endpoint may arrive."""

    def __init__(self, ports: Callable[[Endpoint], frozenset[int]]) -> None:
        self._ports = ports
        self._nonces = Nonces()
        self._made_at: weakref.WeakKeyDictionary[Any, Instant] = weakref.WeakKeyDictionary()
        self._dial_backs = ExchangeSlots(MAX_DIAL_BACKS, MAX_DIAL_BACKS_PER_BLOCK, MAX_DIAL_BACKS_PER_PEER)
        self._spent: list[tuple[Instant, int]] = []

    def connected(self, connection: Any) -> None:
        """Note when a connection was made."""
        self._made_at[connection] = now()

    async def check(self, connection: Any, endpoint: Endpoint) -> Outcome:
        """Ask the server at the other end of a connection whether it reaches `endpoint`."""
        nonce = secrets.randbits(64)
        if not self._nonces.issue(nonce, endpoint, self._ports(endpoint), now()):
            return "refused"
        response: DialResponse | None = None
        try:
            with trio.move_on_after(CHECK_TIMEOUT_S):
                response = await self._ask(connection, DialRequest((_binary(endpoint),), nonce))
        except (streams.StreamError, AutonatMessageError):
            response = None
        finally:
            has_arrived = self._nonces.take(nonce)
        if has_arrived:
            return "reached"
        if response is None or response.status is not ResponseStatus.OK or response.index != 0:
            return "refused"
        if response.dial_status is DialStatus.OK:
            return "lied"
        return "unreached" if response.dial_status is DialStatus.DIAL_ERROR else "refused"

    async def handle_dial_back(self, stream: Any) -> None:
        """Take a nonce."""
        muxed, limit = stream.muxed_conn, trio.CancelScope()
        slot = self._dial_backs.acquire(muxed.peer_id.to_bytes(), address_block_of(muxed), limit.cancel)
        if slot is None:
            await streams.reset(stream)
            return
        limit.deadline = trio.current_time() + DIAL_BACK_TIMEOUT_S
        is_taken = False
        try:
            with limit, suppress(streams.StreamError, AutonatMessageError):
                nonce = decode_dial_back(await streams.read_varint_message(stream, MAX_MESSAGE_BYTES))
                if self._nonces.arrive(nonce, self._arrival(stream.swarm_conn)):
                    await streams.write(stream, varint.encode(len(DIAL_BACK_RESPONSE)) + DIAL_BACK_RESPONSE)
                    is_taken = True
        finally:
            self._dial_backs.release(slot)
        await (streams.close if is_taken else streams.reset)(stream)

    def _arrival(self, connection: Any) -> Arrival:
        muxed = connection.muxed_conn
        return Arrival(
            transport=transport_of(muxed),
            host=host_of(connection) or "",
            local_port=local_port_of(muxed),
            is_inbound=not muxed.is_initiator,
            made_at=self._made_at.get(connection),
        )

    async def _ask(self, connection: Any, request: DialRequest) -> DialResponse:
        """Return the answer to one request, after what the server wants to have sent first, once."""
        async with streams.open_stream(connection, DIAL_REQUEST_PROTOCOL) as stream:
            await _write(stream, request)
            answer = decode(await streams.read_varint_message(stream, MAX_MESSAGE_BYTES))
            if isinstance(answer, DialDataRequest):
                await self._send_data(stream, answer)
                answer = decode(await streams.read_varint_message(stream, MAX_MESSAGE_BYTES))
            if not isinstance(answer, DialResponse):
                raise AutonatMessageError("not an answer")
            return answer

    async def _send_data(self, stream: Any, wanted: DialDataRequest) -> None:
        """Send the bytes that a server wants. Raises AutonatMessageError if they are too many."""
        moment = now()
        self._spent = [one for one in self._spent if moment - one[0] < DATA_BUDGET_S]
        if wanted.index != 0 or wanted.size > MAX_DIAL_DATA_BYTES:
            raise AutonatMessageError("too much data is wanted")
        if sum(size for _at, size in self._spent) + wanted.size > DATA_BUDGET_BYTES:
            raise AutonatMessageError("too much data was sent lately")
        self._spent.append((moment, wanted.size))
        missing = wanted.size
        while missing > 0:
            size = min(missing, MAX_DATA_BYTES)
            await _write(stream, DialDataResponse(size))
            missing -= size


def _binary(endpoint: Endpoint) -> bytes:
    return bytes(Multiaddr(str(endpoint.with_zone(""))).to_bytes())


async def _write(stream: Any, message: Message) -> None:
    data = encode(message)
    await streams.write(stream, varint.encode(len(data)) + data)
