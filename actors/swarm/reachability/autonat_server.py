"""Answers AutoNAT v2: dials a peer back at one address, and says what came of it.

Owns the streams of these requests, their bounds and deadlines. Whom it serves, at which address and price, is
dial_back_limits.py's; the dial is dial_back.py's. Implements docs/protocol.md, "Reachability".
"""

import random
from collections.abc import Callable, Collection
from typing import Any, Final

import trio
import varint

from ....messages.types import Transport
from ...base import now
from ..dial.addresses import Endpoint
from ..library import streams
from ..library.connections import address_block_of, host_of
from .autonat_messages import (
    MAX_DATA_BYTES,
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
    encode,
)
from .dial_back import DialBack
from .dial_back_limits import DialBackLimits, choose, price

REQUEST_TIMEOUT_S: Final = 5.0
DATA_TIMEOUT_S: Final = 15.0
MIN_DATA_PART_BYTES: Final = 256
"""Of each part of the dial data but the last, which bounds how many there are."""
MAX_PAUSE_S: Final = 2.0
"""Before the dial of another IP address than the client's: many servers that are asked at once to dial one
victim do not do so at one moment."""
_CLOSE_TIMEOUT_S: Final = 1.0


class AutonatServer:
    """Serves the requests of one host. `versions`: the IP versions with which it reaches the Internet."""

    def __init__(
        self,
        dial_back: DialBack,
        transports: Collection[Transport],
        versions: Callable[[], Collection[int]],
        is_own: Callable[[Endpoint], bool],
        about_to_dial: Callable[[Endpoint], None],
        observe: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._dial_back = dial_back
        self._transports = [one for one in transports if one in ("tcp", "quic")]
        self._versions = versions
        self._is_own = is_own
        self._about_to_dial = about_to_dial
        self._observe = observe
        self._limits = DialBackLimits()

    async def handle(self, stream: Any) -> None:
        """Serve one dial-request stream."""
        peer: bytes = stream.muxed_conn.peer_id.to_bytes()
        observed = host_of(stream.swarm_conn)
        try:
            with trio.fail_after(REQUEST_TIMEOUT_S):
                request = decode(await streams.read_varint_message(stream, MAX_MESSAGE_BYTES))
            if not isinstance(request, DialRequest) or observed is None:
                raise AutonatMessageError("not a request")
            block = address_block_of(stream.muxed_conn)
            if not self._limits.begin(peer, block, now()):
                await self._answer(stream, DialResponse(ResponseStatus.REQUEST_REJECTED))
                return
            try:
                response = await self._serve(stream, peer, observed, request)
            finally:
                self._limits.end(peer)
            await self._answer(stream, response)
        except (streams.StreamError, AutonatMessageError, trio.TooSlowError):
            await streams.reset(stream)

    async def _serve(self, stream: Any, peer: bytes, observed: str, request: DialRequest) -> DialResponse:
        chosen = choose(request.addresses, self._transports, self._versions(), self._is_own)
        if chosen is None:
            return DialResponse(ResponseStatus.DIAL_REFUSED)
        index, endpoint = chosen
        size = price(endpoint, observed, random.random())  # noqa: S311, how much data is no secret
        if size:
            with trio.fail_after(DATA_TIMEOUT_S):
                await _write(stream, DialDataRequest(index, size))
                await _read_data(stream, size)
            await trio.sleep(random.random() * MAX_PAUSE_S)  # noqa: S311
        self._about_to_dial(endpoint)
        status = await self._dial_back.dial(endpoint, peer, request.nonce)
        return DialResponse(ResponseStatus.OK, index, status)

    async def _answer(self, stream: Any, response: DialResponse) -> None:
        outcome = response.status if response.status is not ResponseStatus.OK else response.dial_status
        self._observe("dialled" if outcome is DialStatus.OK else outcome.name.lower())
        with trio.fail_after(_CLOSE_TIMEOUT_S):
            await _write(stream, response)
        await streams.close(stream)


async def _read_data(stream: Any, size: int) -> None:
    """Read the dial data, part by part, and keep none of it."""
    missing = size
    while missing > 0:
        part = decode(await streams.read_varint_message(stream, MAX_MESSAGE_BYTES))
        if not isinstance(part, DialDataResponse) or part.size > MAX_DATA_BYTES:
            raise AutonatMessageError("not a part of the dial data")
        if part.size < min(missing, MIN_DATA_PART_BYTES):
            raise AutonatMessageError("too small a part")
        missing -= part.size


async def _write(stream: Any, message: Message) -> None:
    data = encode(message)
    await streams.write(stream, varint.encode(len(data)) + data)
