"""What becomes of a stranger's datagram: answered, taken for the beginning of a connection, or dropped.

Owns the paces of strangers, each source's and that of all together. Nothing is remembered of a question by
STUN, nor of a first packet that is answered with a cookie. Gets the time; sends nothing itself.
"""

from typing import Any, Final

from ..dial.addresses import block_of, is_loopback_block, source_of
from ..library.handshake_limits import HandshakeLimits, RateLimit
from ..library.udp_sockets import SocketAddress
from ..pairing.rate_limits import Pace
from . import stun
from .certificate import Certificate
from .dtls import Cookies, DtlsSession, is_client_hello, new_context

PER_SOURCE_PER_S: Final = 50.0
BURST_PER_SOURCE: Final = 100.0
"""First packets of one source, in the long run and at once, as over QUIC; and questions by STUN."""
_MAX_FIRST_PACKETS_PER_S: Final = 500.0
_MAX_QUESTIONS_PER_S: Final = 1000.0
"""Of all strangers together."""
_FIRST_MESSAGE = slice(17, 19)
"""Where the first record of a handshake has the number of its message."""


class Admission:
    """Decides for one node. `handshakes` are those of all its endpoints."""

    def __init__(self, own: Certificate, handshakes: HandshakeLimits[Any]) -> None:
        self._handshakes = handshakes
        self._context = new_context(own)
        self._cookies = Cookies(own)
        self._first_packets = RateLimit(_MAX_FIRST_PACKETS_PER_S)
        self._questions = RateLimit(_MAX_QUESTIONS_PER_S)
        self._paces: dict[str, Pace[str]] = {
            kind: Pace(PER_SOURCE_PER_S, BURST_PER_SOURCE) for kind in ("question", "first", "shown")
        }

    def answer(self, datagram: bytes, address: SocketAddress, now: float) -> bytes | None:
        """Return the answer to a binding request of a stranger; None if it gets none."""
        host = str(address[0])
        if self._is_too_fast("question", host, now) or not self._questions.allows(now):
            return None
        return answer(datagram, address)

    def judge(self, datagram: bytes, address: SocketAddress, now: float) -> DtlsSession | bytes | None:
        """Return a session for a first packet, or what it is answered with; None: nothing is done."""
        if not is_client_hello(datagram):
            return None
        host = str(address[0])
        has_cookie = datagram[_FIRST_MESSAGE] != b"\x00\x00"
        if self._is_too_fast("shown" if has_cookie else "first", host, now):
            return None
        if not self._first_packets.allows(now):
            return None
        verdict = self._handshakes.judge(block_of(host), has_shown_address=has_cookie)
        if verdict == "accept" and not has_cookie:
            return DtlsSession(self._context, is_client=False)
        return self._cookies.judge(datagram, repr(address[:2]).encode()) or None

    def _is_too_fast(self, kind: str, host: str, now: float) -> bool:
        """Count a datagram of a source, unless it comes before its turn; not on loopback, where many are."""
        if is_loopback_block(block_of(host)):
            return False
        return self._paces[kind].wait_before(source_of(host), now, longest=0.0) > 0.0


def answer(datagram: bytes, address: SocketAddress) -> bytes | None:
    """Return the answer to a binding request; None if it is none of this protocol."""
    asked = stun.read_request(datagram)
    if asked is None:
        return None
    return stun.response(asked, str(address[0]).partition("%")[0], int(address[1]))
