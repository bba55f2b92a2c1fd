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
    assert not bans.is_banned(BLOCK, 62.0)


def test_fresh_peer_ids_do_not_help() -> None:
    """Three hundred strikes of one block count, whichever peers they come from; others are unharmed."""
    bans = BanList()
    for number in range(299):
        assert not bans.strike(number.to_bytes(38, "big"), BLOCK, 1.0)
    assert bans.strike(PEER, BLOCK, 1.0)
    assert bans.is_banned(BLOCK, 1.0)
    assert not bans.is_banned("198.51.100.0/24", 1.0)
    assert not bans.is_banned(None, 1.0)
    assert not bans.strike(b"q" * 38, None, 1.0)
