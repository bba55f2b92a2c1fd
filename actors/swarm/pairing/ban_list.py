"""Peers with which this node has nothing to do for ten minutes, and address blocks that it serves last.

Owns the count of strikes, which are frames that cannot be decoded or carry no valid code_id. Never closes a
connection: inbound.py and node.py do. Implements docs/protocol.md, "Limits". Pure: the time is an argument.
"""

from .rate_limits import RateWindow
from .recent_table import RecentTable

PEER_STRIKES = 30
PEER_STRIKES_IN_SLOW_BLOCK = 3
ADDRESS_BLOCK_STRIKES = 300
STRIKE_WINDOW_S = 60.0
BAN_DURATION_S = 600.0


class BanList:
    """Bans a peer after 30 strikes in a minute; makes an address block slow after 300.

    A stranger can make any number of peer ids, but honest devices may be in the same block: those of its own
    network, or all behind one NAT. So a block is never banned. While it is slow a peer of it is banned after
    3 strikes, and the block loses its slots first (exchange_slots.py, library/connection_limits.py).
    """

    def __init__(self) -> None:
        self._peer_strikes: RateWindow[bytes] = RateWindow(PEER_STRIKES - 1, STRIKE_WINDOW_S)
        self._block_strikes: RateWindow[str] = RateWindow(ADDRESS_BLOCK_STRIKES - 1, STRIKE_WINDOW_S)
        self._banned_until: RecentTable[bytes, float] = RecentTable()
        self._slow_until: RecentTable[str, float] = RecentTable()

    def strike(self, peer: bytes, address_block: str | None, now: float) -> bool:
        """Count one strike; return whether the peer is banned because of it."""
        bans_peer = self._peer_strikes.record(peer, now)
        if address_block is not None and self._block_strikes.record(address_block, now):
            self._slow_until.store(address_block, now + BAN_DURATION_S)
        if self.is_slow(address_block, now):
            bans_peer = self._peer_strikes.count(peer, now) >= PEER_STRIKES_IN_SLOW_BLOCK
        if bans_peer:
            self.ban(peer, now)
        return bans_peer

    def ban(self, peer: bytes, now: float) -> None:
        """Ban a peer for ten minutes."""
        self._banned_until.store(peer, now + BAN_DURATION_S)

    def is_banned(self, peer: bytes, now: float) -> bool:
        """Return whether a peer is banned."""
        until = self._banned_until.get(peer)
        return until is not None and until > now

    def is_slow(self, address_block: str | None, now: float) -> bool:
        """Return whether an address block is slow; None never is."""
        until = None if address_block is None else self._slow_until.get(address_block)
        return until is not None and until > now

    def is_slowed(self, peer: bytes, address_block: str | None, now: float) -> bool:
        """Return whether a peer has to wait: one with strikes, of a slow block."""
        return self.is_slow(address_block, now) and self._peer_strikes.count(peer, now) > 0
