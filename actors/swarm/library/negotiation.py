"""Corrections of multistream-select, by which two sides agree on a protocol: bounded, and in few packets."""

from typing import Any

import libp2p.protocol_muxer.multiselect_communicator as library_communicator
from libp2p.exceptions import ParseError
from libp2p.io.exceptions import MessageTooLarge
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from . import multiplexer

MAX_MESSAGE_BYTES = 16 * 1024


def answer_proposals_in_one_packet(host: Any) -> None:
    """Send all lines of this side's part of a negotiation together.

    Defect (0.8.1): each line of a negotiation is sealed and sent as a packet of its own.
    Test: tests/swarm/test_packets.py.
    """
    negotiate = host.multiselect.negotiate

    async def in_one_packet(communicator: Any, *args: Any) -> Any:
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
