"""Decides who may connect to the node, and who makes room when there are too many.

Owns the pace of handshakes with each source. Never sees a byte of a peer: the listeners ask it before
(library/connection_limits.py, Gate). Implements docs/protocol.md, "Limits".
"""

from ..base import now
from .dial import addresses
from .library.connection_limits import UPGRADE_TIMEOUT_S
from .pairing.ban_list import BanList
from .pairing.rate_limits import Pace

_HANDSHAKES_PER_S, _BURST_HANDSHAKES = 50.0, 100.0
"""With one source, in the long run and at once. Each takes some two milliseconds of processor time."""


class ConnectionGate:
    """The gate of one node. `bans` knows from which blocks much rubbish came."""

    def __init__(self, bans: BanList, *, lan_only: bool, offline: bool) -> None:
        self._bans = bans
        self._lan_only = lan_only
        self._offline = offline
        self._handshakes: Pace[str] = Pace(_HANDSHAKES_PER_S, _BURST_HANDSHAKES)

    def allows(self, host: str) -> bool:
        """Refuse with --lan-only every address outside of the local network, with --offline of this host."""
        if self._offline:
            ip = addresses.ip_of(host)
            return ip is not None and ip.is_loopback
        return not self._lan_only or addresses.is_local_host(host)

    def is_slow(self, address_block: str | None) -> bool:
        """Let blocks from which much rubbish came lose their connections first."""
        return self._bans.is_slow(address_block, now())

    def pause_before_handshake(self, source: str) -> float:
        """Have the handshakes of a source wait beyond a pace; not on loopback, where many nodes may be."""
        if addresses.is_loopback_block(addresses.block_of(source.partition("/")[0])):
            return 0.0
        return self._handshakes.wait_before(source, now(), UPGRADE_TIMEOUT_S)
