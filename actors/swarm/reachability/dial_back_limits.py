"""What an AutoNAT server does for whom, and how often.

A stranger can make this node dial. So it dials one public address for a request: the first that it could
reach, at the IP address from which the request came; for another one the client has to send more bytes first
than a dial costs. Owns the choice of the address, the price, and the limits. Pure: the random number and the
time are arguments. Implements docs/protocol.md, "Reachability".
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from multiaddr import Multiaddr

from ....messages.types import Instant, Transport
from ..dial.addresses import AddressError, Endpoint, ip_of, parse
from ..dial.hearsay import is_public
from ..pairing.rate_limits import RateWindow
from .autonat_messages import MAX_DIAL_DATA_BYTES, MIN_DIAL_DATA_BYTES

MAX_AT_ONCE: Final = 8
MAX_PER_MINUTE: Final = 60
MAX_PER_BLOCK_AND_MINUTE: Final = 12
_WINDOW_S: Final = 60.0
_EVERYBODY: Final = "everybody"


class DialBackLimits:
    """The requests of the last minute and those under way."""

    def __init__(self) -> None:
        self._of_all: RateWindow[str] = RateWindow(MAX_PER_MINUTE, _WINDOW_S)
        self._of_block: RateWindow[str] = RateWindow(MAX_PER_BLOCK_AND_MINUTE, _WINDOW_S)
        self._running: Counter[bytes] = Counter()

    def begin(self, peer: bytes, block: str | None, now: Instant) -> bool:
        """Return whether a request is served; if so, it has to be ended."""
        if block is None or self._running[peer] or self._running.total() >= MAX_AT_ONCE:
            return False
        if self._of_block.record(block, now) or self._of_all.record(_EVERYBODY, now):
            return False
        self._running[peer] += 1
        return True

    def end(self, peer: bytes) -> None:
        """A request was served, or has failed."""
        del self._running[peer]


def choose(
    addresses: Sequence[bytes],
    transports: Collection[Transport],
    versions: Collection[int],
    is_own: Callable[[Endpoint], bool],
) -> tuple[int, Endpoint] | None:
    """Return index and endpoint of the first address that may be dialled; None: there is none.

    `versions` are the IP versions with which this node reaches the Internet.
    """
    for index, binary in enumerate(addresses):
        try:
            endpoint = parse(str(Multiaddr(binary)))
        except AddressError:
            continue
        except Exception:  # noqa: S112 - the parser raises many unrelated types; a malformed address is passed over
            continue
        ip = endpoint.ip
        if ip is None or endpoint.port == 0 or ip.version not in versions:
            continue
        if ip.is_multicast or not is_public(ip):
            continue
        if endpoint.transport in transports and not is_own(endpoint):
            return index, endpoint
    return None


def price(endpoint: Endpoint, observed_host: str, random: float) -> int:
    """Return how many bytes a client at `observed_host` has to send first; `random` is from 0 to 1."""
    if endpoint.ip is not None and endpoint.ip == ip_of(observed_host):
        return 0
    return MIN_DIAL_DATA_BYTES + int(random * (MAX_DIAL_DATA_BYTES - MIN_DIAL_DATA_BYTES))
