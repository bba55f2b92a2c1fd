"""What becomes of the first packet of a handshake: accepted, answered, or dropped (RFC 9000, 6, 7, 8.1).

Owns the tokens of Retry, which only this incarnation of the swarm can check, and the answer to other
versions. Pure: gets a packet's header and the time, returns what is to be done.
"""

import os
from dataclasses import dataclass
from typing import Any, Final

from aioquic.buffer import BufferReadError
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
)
from aioquic.quic.retry import QuicRetryTokenHandler

from ..dial.addresses import block_of, is_loopback_block, source_of
from ..library.handshake_limits import HandshakeLimits, RateLimit
from ..pairing.rate_limits import Pace
from .bounded_quic import VERSION
from .reset_tokens import CONNECTION_ID_BYTES

MIN_FIRST_BYTES: Final = 1200
"""Of a datagram with the first packet of a handshake (RFC 9000, 14.1)."""
HANDSHAKES_PER_S: Final = 50.0
BURST_HANDSHAKES: Final = 100.0
"""With one source, in the long run and at once, as over TCP (node.py)."""
_MAX_TOKEN_BYTES: Final = 256
_MAX_VERSION_ANSWERS_PER_S: Final = 100.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A handshake may begin. `retried` is the connection id of a Retry that the peer has followed."""

    original_id: bytes
    retried: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One datagram to send back, after which nothing is remembered."""

    datagram: bytes


class Admission:
    """Decides for one endpoint. `handshakes` are those of all endpoints of the node."""

    def __init__(self, handshakes: HandshakeLimits[Any]) -> None:
        self._handshakes = handshakes
        self._paces: dict[bool, Pace[str]] = {
            has_shown_address: Pace(HANDSHAKES_PER_S, BURST_HANDSHAKES) for has_shown_address in (False, True)
        }
        self._tokens = QuicRetryTokenHandler()
        self._version_answers = RateLimit(_MAX_VERSION_ANSWERS_PER_S)

    def judge(
        self, header: QuicHeader, size: int, address: tuple[Any, ...], now: float
    ) -> Accepted | Answer | None:
        """Return what is done with a packet of no connection in a datagram of `size` bytes; None: nothing."""
        if size < MIN_FIRST_BYTES:
            return None
        if header.version != VERSION:
            return self._other_version(header, now)
        if header.packet_type != QuicPacketType.INITIAL or len(header.destination_cid) < CONNECTION_ID_BYTES:
            return None
        place = (str(address[0]).partition("%")[0], int(address[1]))
        accepted = Accepted(header.destination_cid, None)
        if header.token:
            try:
                accepted = Accepted(self._original_id(header, place, now), header.destination_cid)
            except (ValueError, BufferReadError):
                return None  # made up, or too old: the peer begins anew
        has_shown_address = accepted.retried is not None
        verdict = self._handshakes.judge(block_of(place[0]), has_shown_address=has_shown_address)
        if verdict == "retry":
            return self._retry(header, place, now)
        if self._is_too_fast(place[0], now, has_shown_address=has_shown_address):
            return None if has_shown_address else self._retry(header, place, now)
        return accepted

    def _is_too_fast(self, host: str, now: float, *, has_shown_address: bool) -> bool:
        """Count a handshake with a source, unless it comes before its turn: its first packet comes again.

        Those that have shown their address have a pace of their own, which nobody else can use up by packets
        with a made-up source. Not on loopback, where many nodes may be.
        """
        if is_loopback_block(block_of(host)):
            return False
        return self._paces[has_shown_address].wait_before(source_of(host), now, longest=0.0) > 0.0

    def _original_id(self, header: QuicHeader, place: tuple[str, int], now: float) -> bytes:
        """Return the connection id that the peer had chosen before Retry. Raises ValueError: bad token."""
        if len(header.token) > _MAX_TOKEN_BYTES:
            raise ValueError("token is too long")
        return self._tokens.validate_token(
            address=place, destination_cid=header.destination_cid, token=header.token, now=now
        )

    def _retry(self, header: QuicHeader, place: tuple[str, int], now: float) -> Answer:
        """Ask a peer to show that it is where it says, by sending a token back."""
        own_id = os.urandom(CONNECTION_ID_BYTES)
        token = self._tokens.create_token(
            address=place,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=own_id,
            now=now,
        )
        return Answer(
            encode_quic_retry(
                version=VERSION,
                source_cid=own_id,
                destination_cid=header.source_cid,
                original_destination_cid=header.destination_cid,
                retry_token=token,
            )
        )

    def _other_version(self, header: QuicHeader, now: float) -> Answer | None:
        """Tell a peer that speaks another version which one this node speaks."""
        is_answer_itself = header.version in (None, QuicProtocolVersion.NEGOTIATION)
        if is_answer_itself or not self._version_answers.allows(now):
            return None
        return Answer(
            encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=[VERSION],
            )
        )
