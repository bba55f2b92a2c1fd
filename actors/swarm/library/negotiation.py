"""Corrections of multistream-select, by which sides agree on a protocol: bounded, in few packets, at once.

Owns how the security protocol and the multiplexer of a dialled connection are proposed. How the protocol of a
stream is, streams.py owns.
"""

from collections.abc import Sequence
from typing import Any

import libp2p.protocol_muxer.multiselect_communicator as library_communicator
import trio
from libp2p.custom_types import TProtocol
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.protocol_muxer.exceptions import MultiselectClientError
from libp2p.protocol_muxer.multiselect_client import MULTISELECT_PROTOCOL_ID, MultiselectClient
from libp2p.utils.varint import encode_delim, read_varint_prefixed_bytes_limited

from ....messages.errors import SpacedriveNodeError
from . import multiplexer, streams

MAX_MESSAGE_BYTES = 16 * 1024
ANSWER_TIMEOUT_S = 10.0
"""How long the other side may take to answer a proposal, while this side goes on as if it had agreed."""
_CHOICE_TIMEOUT_S = 10


def answer_proposals_in_one_packet(host: Any) -> None:
    """Send all lines of this side's part of a negotiation together.

    Defect (0.8.1): each line of a negotiation is sealed and sent as a packet of its own.
    Test: tests/swarm/test_packets.py.
    """
    negotiate = host.multiselect.negotiate

    async def in_one_packet(communicator: Any, *args: Any) -> Any:
        streams.read_ahead(communicator.read_writer)
        async with multiplexer.one_packet(communicator.read_writer):
            return await negotiate(communicator, *args)

    host.multiselect.negotiate = in_one_packet


def use_bounded_messages() -> None:
    """Refuse messages of a negotiation over 16 KiB, for the whole process.

    Defect (0.8.1, utils/varint.py:153): a message of multistream-select may have any length, and is kept
    even before the peer is known.
    Test: tests/limits/test_multiplexer.py, test_a_message_of_the_negotiation_is_bounded.
    """
    library_communicator.read_delim = _read_line


async def _read_line(reader: Any) -> bytes:
    message: bytes
    try:
        message = await read_varint_prefixed_bytes_limited(reader, MAX_MESSAGE_BYTES)
    except MessageTooLarge:
        raise ParseError("message too large") from None
    if message[-1:] != b"\n":
        raise ParseError("message without an end")
    return message[:-1]


class NegotiationError(SpacedriveNodeError, MultiselectClientError):  # type: ignore[misc]
    """The other side does not agree to what was proposed. The text is short and quotes no bytes of it."""


def propose_without_waiting(host: Any) -> None:
    """Go on with the security protocol, and then with the multiplexer, before the other side has agreed.

    Defect (0.8.1, protocol_muxer/multiselect_client.py:115): a dial waits for the header of the other side,
    then for its answer to the proposal, for security and again for the multiplexer: four round trips. But one
    protocol of each kind is offered, so the only answer with which a dial goes on is known before it comes.
    A dial is over once the peer has proved its id. A peer that then refuses the multiplexer, or says nothing
    about it, loses the connection.
    Tests: tests/swarm/test_negotiation.py; tests/counts/test_round_trips.py.
    """
    upgrader = host.get_network().upgrader
    for multistream in (upgrader.security_multistream, upgrader.muxer_multistream):
        multistream._selector.multiselect_client = _PipeliningClient()


class _PipeliningClient(MultiselectClient):  # type: ignore[misc]
    """Proposes the only protocol, takes the answer for granted; the library chooses between two."""

    async def select_one_of(
        self, protocols: Sequence[TProtocol], communicator: Any, negotiate_timeout: int = _CHOICE_TIMEOUT_S
    ) -> TProtocol:
        """Return the only protocol at once; whoever reads from the connection then fails if it is refused."""
        if len(protocols) != 1:
            chosen: TProtocol = await super().select_one_of(protocols, communicator, negotiate_timeout)
            return chosen
        _Proposal(communicator.read_writer, protocols[0]).attach()
        return protocols[0]


class _Proposal:
    """One proposal on a connection: it goes out with the first bytes, and its answer comes before the first.

    It stands in front of the connection's own `read` and `write` until then, and not any longer.
    """

    def __init__(self, connection: Any, protocol: TProtocol) -> None:
        self._connection = connection
        self._read, self._write = connection.read, connection.write
        self._protocol = protocol
        self._deadline = trio.current_time() + ANSWER_TIMEOUT_S

    def attach(self) -> None:
        """Put this in front of the connection."""
        self._connection.read, self._connection.write = self._read_after_answer, self._write_after_proposal

    async def read(self, size: int | None = None) -> bytes:
        """Read from the connection itself, for `_read_line`."""
        return bytes(await self._read(size))

    async def _write_after_proposal(self, data: bytes) -> None:
        """Write the proposal, and `data` in the same packet."""
        del self._connection.write
        lines = (MULTISELECT_PROTOCOL_ID, self._protocol)
        await self._write(b"".join(encode_delim(line.encode()) for line in lines) + data)

    async def _read_after_answer(self, size: int | None = None) -> bytes:
        """Read the answer, and then what the caller wants. Raises NegotiationError."""
        if "write" in vars(self._connection):
            await self._write_after_proposal(b"")
        with trio.move_on_at(self._deadline) as limit:
            await self._check(MULTISELECT_PROTOCOL_ID, "the peer does not speak multistream-select")
            await self._check(self._protocol, f"the peer does not speak {self._protocol}")
        if limit.cancelled_caught:
            raise NegotiationError(f"no answer to {self._protocol}")
        del self._connection.read
        return await self.read(size)

    async def _check(self, expected: str, otherwise: str) -> None:
        try:
            line = await _read_line(self)
        except Exception as error:  # the library raises many unrelated types for "gone"
            raise NegotiationError(f"no answer to {self._protocol}: {type(error).__name__}") from error
        if line != expected.encode():
            raise NegotiationError(otherwise)
