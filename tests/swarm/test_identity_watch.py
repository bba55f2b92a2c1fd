"""What is noticed about peer ids at addresses: said once, checked only where a liar learns nothing."""

import pytest

from spacedrive_node.actors.swarm.dial.addresses import parse
from spacedrive_node.actors.swarm.identity_watch import CHECK_INTERVAL_S, REPEAT_INTERVAL_S, IdentityWatch
from spacedrive_node.protocol.peer_ids import peer_id_of

OWN, NAMED, OTHER = (peer_id_of(bytes([number]) * 32) for number in (1, 2, 3))
HERE, THERE = parse("/ip4/127.0.0.1/tcp/7520"), parse("/ip4/198.51.100.7/tcp/7520")


class Watched:
    """A watch, what it has said, and its clock."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.now = 1000.0
        self.watch = IdentityWatch(
            OWN,
            lambda: [HERE],
            lambda event, fields: self.said.append((event, fields["at"])),
            lambda: self.now,
        )


def test_a_bootstrap_peer_with_another_id_is_said_once_in_a_while() -> None:
    """Of the configured peers only: any other address may be out of date."""
    one = Watched()
    one.watch.other_peer_answered(NAMED, THERE, OTHER)
    assert one.said == []
    one.watch.add_bootstrap_peer(NAMED)
    for later in (0.0, 1.0, REPEAT_INTERVAL_S):
        one.now += later
        one.watch.other_peer_answered(NAMED, THERE, OTHER)
    assert [("--bootstrap" in event, at) for event, at in one.said] == [(True, str(THERE))] * 2


def test_the_own_peer_id_counts_elsewhere_only() -> None:
    """At this node's own address it is this node."""
    one = Watched()
    one.watch.other_peer_answered(NAMED, HERE, OWN)
    one.watch.own_peer_provides([str(HERE)])
    assert one.said == []
    one.watch.other_peer_answered(NAMED, THERE, OWN)
    assert one.said == [(one.said[0][0], str(THERE))]


@pytest.mark.parametrize(
    ("address", "server", "lan_only", "checked"),
    [
        ("/ip4/8.8.8.8/tcp/1", "9.9.9.9", False, True),
        ("/ip4/8.8.8.8/tcp/1", "9.9.9.9", True, False),
        ("/ip4/127.0.0.1/tcp/1", "9.9.9.9", False, False),
        ("/ip4/127.0.0.1/tcp/1", "192.168.1.1", False, False),
        ("/ip4/127.0.0.1/tcp/1", "127.0.0.1", False, True),
        ("/ip4/192.168.1.2/tcp/1", "9.9.9.9", False, False),
        ("/ip4/192.168.1.2/tcp/1", "192.168.1.1", True, True),
        ("/dns4/localhost/tcp/1", "127.0.0.1", False, False),
        ("/ip4/127.0.0.1/tcp/7520", "127.0.0.1", False, False),
        ("/ip4/8.8.8.8/tcp/1", None, False, False),
    ],
)
def test_a_servers_claim_is_checked_where_the_server_is_itself(
    address: str, server: str | None, lan_only: bool, checked: bool
) -> None:
    """Never on this host or a private network for a server elsewhere; and once a minute at most."""
    one = Watched()
    for expected in (checked, False):
        found = one.watch.to_check([address], server, lan_only=lan_only)
        assert found == ([parse(address)] if expected else [])
    one.now += CHECK_INTERVAL_S
    assert bool(one.watch.to_check([address], server, lan_only=lan_only)) is checked
