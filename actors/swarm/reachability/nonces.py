"""The nonces of checks under way, and whether each has come back as it must.

What a server says of its dial proves nothing. That its nonce arrives does: on an inbound connection that was
made after the question, over the transport and IP version that was asked about, at a port on which this node
listens. Owns the nonces. Pure. Implements docs/protocol.md, "Reachability".
"""

from dataclasses import dataclass
from typing import Final

from ....messages.types import Instant, Transport
from ..dial.addresses import Endpoint, ip_of

MAX_NONCES: Final = 32


@dataclass(frozen=True, slots=True)
class Arrival:
    """The connection on which a nonce has come. `host` is the IP address of its other side."""

    transport: Transport
    host: str
    local_port: int | None
    """None: it is not known."""
    is_inbound: bool
    made_at: Instant | None
    """None: before this was noted, or not at all."""


@dataclass(slots=True)
class _Issued:
    endpoint: Endpoint
    ports: frozenset[int]
    at: Instant
    has_arrived: bool = False


class Nonces:
    """The table. Whoever issues a nonce takes it back."""

    def __init__(self) -> None:
        self._issued: dict[int, _Issued] = {}

    def issue(self, nonce: int, endpoint: Endpoint, ports: frozenset[int], now: Instant) -> bool:
        """Expect a nonce at one of this node's `ports`; return False if there is no room, or it is there."""
        if nonce in self._issued or len(self._issued) >= MAX_NONCES:
            return False
        self._issued[nonce] = _Issued(endpoint, ports, now)
        return True

    def arrive(self, nonce: int, arrival: Arrival) -> bool:
        """Note a nonce that has come; return whether it proves something."""
        issued = self._issued.get(nonce)
        ip = ip_of(arrival.host)
        if issued is None or ip is None or issued.endpoint.ip is None:
            return False
        proves = (
            arrival.is_inbound
            and arrival.made_at is not None
            and arrival.made_at >= issued.at
            and arrival.transport == issued.endpoint.transport
            and ip.version == issued.endpoint.ip.version
            and arrival.local_port in issued.ports
        )
        issued.has_arrived |= proves
        return proves

    def take(self, nonce: int) -> bool:
        """Expect a nonce no more; return whether it has arrived."""
        issued = self._issued.pop(nonce, None)
        return issued is not None and issued.has_arrived
