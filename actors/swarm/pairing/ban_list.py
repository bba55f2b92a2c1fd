"""Peers and address blocks with which this node has nothing to do for ten minutes.

Owns the count of strikes, which are frames that cannot be decoded or carry no valid code_id. Never closes a
connection: inbound.py and node.py do. Implements docs/protocol.md, "Limits". Pure: the time is an argument.
"""

from .rate_limits import RateWindow
from .recent_table import RecentTable

PEER_STRIKES = 30
ADDRESS_BLOCK_STRIKES = 300
STRIKE_WINDOW_S = 60.0
BAN_DURATION_S = 600.0


class BanList:
    """Bans a peer after 30 strikes in a minute, and an address block after 300.

    An address block is counted as well because a stranger can make any number of peer ids.
    """

    def __init__(self) -> None:
        self._peer_strikes: RateWindow[bytes] = RateWindow(PEER_STRIKES - 1, STRIKE_WINDOW_S)
        self._address_block_strikes: RateWindow[str] = RateWindow(ADDRESS_BLOCK_STRIKES - 1, STRIKE_WINDOW_S)
        self._banned_until: RecentTable[bytes | str, float] = RecentTable()
        """By peer id (bytes) and by address block (text)."""

    def strike(self, peer: bytes, address_block: str | None, now: float) -> bool:
        """Count one strike; return whether the peer or the address block is banned because of it."""
        bans_peer = self._peer_strikes.record(peer, now)
        bans_block = address_block is not None and self._address_block_strikes.record(address_block, now)
        if bans_peer:
            self.ban(peer, now)
        if address_block is not None and bans_block:
            self._banned_until.store(address_block, now + BAN_DURATION_S)
        return bans_peer or bans_block

    def ban(self, peer: bytes, now: float) -> None:
        """Ban a peer for ten minutes."""
        self._banned_until.store(peer, now + BAN_DURATION_S)

    def is_banned(self, key: bytes | str | None, now: float) -> bool:
        """Return whether a peer id (bytes) or an address block (text) is banned; None never is."""
        until = None if key is None else self._banned_until.get(key)
        return until is not None and until > now
