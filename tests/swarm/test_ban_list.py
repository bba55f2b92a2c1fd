"""Strikes and bans of docs/protocol.md, "Limits", as pure functions of time."""

from spacedrive_node.actors.swarm.pairing.ban_list import BanList

PEER = b"p" * 38
BLOCK = "192.0.2.0/24"


def test_thirty_strikes_in_a_minute_block_a_peer_for_ten() -> None:
    """Twenty-nine do not; and strikes older than a minute do not count."""
    bans = BanList()
    assert not any(bans.strike(PEER, BLOCK, 0.0) for _ in range(29))
    assert not any(bans.strike(PEER, BLOCK, 61.0) for _ in range(29))
    assert bans.strike(PEER, BLOCK, 62.0)
    assert bans.is_banned(PEER, 62.0)
    assert bans.is_banned(PEER, 661.0)
    assert not bans.is_banned(PEER, 663.0)
    assert not bans.is_slow(BLOCK, 62.0)


def test_fresh_peer_ids_make_their_block_slow_and_ban_nobody_else() -> None:
    """After three hundred strikes of one block, whichever peers they come from, for ten minutes."""
    bans = BanList()
    for number in range(299):
        assert not bans.strike(number.to_bytes(38, "big"), BLOCK, 1.0)
    assert not bans.is_slow(BLOCK, 1.0)
    assert not bans.strike(PEER, BLOCK, 1.0)
    assert bans.is_slow(BLOCK, 1.0)
    assert bans.is_slow(BLOCK, 600.0)
    assert not bans.is_slow(BLOCK, 602.0)
    assert not bans.is_slow("198.51.100.0/24", 1.0)
    assert not bans.is_slow(None, 1.0)
    assert not any(bans.is_banned(peer, 1.0) for peer in (PEER, b"honest", (7).to_bytes(38, "big")))


def test_a_peer_of_a_slow_block_is_banned_after_three_strikes() -> None:
    """It also waits for its answers; a peer without strikes does not, nor one of another block."""
    bans = BanList()
    for number in range(300):
        bans.strike(number.to_bytes(38, "big"), BLOCK, 1.0)
    assert not bans.is_slowed(PEER, BLOCK, 2.0)
    assert [bans.strike(PEER, BLOCK, 2.0) for _ in range(3)] == [False, False, True]
    assert bans.is_banned(PEER, 2.0)
    assert not bans.strike(b"q" * 38, "198.51.100.0/24", 2.0)
    assert bans.is_slowed(PEER, BLOCK, 2.0)
    assert not bans.is_slowed(PEER, BLOCK, 63.0)
    assert not bans.is_slowed(b"q" * 38, "198.51.100.0/24", 2.0)
