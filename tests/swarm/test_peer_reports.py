"""What of the behaviour of peers is worth telling the vault, and how often."""

from spacedrive_node.actors.swarm import peer_reports
from spacedrive_node.actors.swarm.peer_reports import PeerReports
from spacedrive_node.messages.to_vault import PeerReport

NOW = 1000.0


def peer(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "big")


def address(number: int) -> str:
    return f"/ip4/45.1.1.1/tcp/{number}"


def reached(*numbers: int) -> PeerReports:
    reports = PeerReports()
    for number in numbers:
        reports.reached(peer(number), address(number))
    return reports


def test_what_a_peer_did_is_told_with_where_it_was_reached() -> None:
    reports = reached(1)
    reports.reached(peer(1), address(2))
    assert reports.note("server", peer(1), "answered", NOW)
    assert reports.take() == (PeerReport("server", peer(1), (address(2), address(1)), answered=1),)
    assert reports.take() == ()


def test_who_was_never_reached_is_not_told_of() -> None:
    """As most servers that a lookup hears of: there is no address to remember."""
    reports = reached(1)
    assert not reports.note("server", peer(2), "answered", NOW)
    assert not reports.note("server", peer(2), "dropped", NOW)
    assert not reports.note("server", peer(2), "lied", NOW)
    assert reports.take() == ()


def test_a_peer_that_goes_on_answering_is_named_once_in_ten_minutes() -> None:
    """Or when it was reached elsewhere: so a node that runs for a year writes little."""
    reports = reached(1)
    times = [now for now in range(0, 3600, 10) if reports.note("server", peer(1), "answered", now)]
    assert times[0] == 0
    counts = [one.answered for one in reports.take()]
    assert counts == [6]
    assert not reports.note("server", peer(1), "slow", 3599.0)
    reports.reached(peer(1), address(7))
    assert reports.note("server", peer(1), "answered", 3599.0)


def test_nobody_is_blamed_while_nobody_answers() -> None:
    """This node's own network may be away."""
    reports = reached(1, 2)
    reports.note("server", peer(1), "dropped", NOW)
    assert reports.take() == ()
    reports.note("server", peer(1), "dropped", NOW)
    reports.note("server", peer(2), "answered", NOW)
    assert set(reports.take()) == {
        PeerReport("server", peer(1), (address(1),), dropped=1),
        PeerReport("server", peer(2), (address(2),), answered=1),
    }
    reports.note("server", peer(1), "dropped", NOW)
    assert reports.take() == ()


def test_a_lie_counts_whoever_else_answers() -> None:
    reports = reached(1)
    reports.note("server", peer(1), "lied", NOW)
    assert reports.take() == (PeerReport("server", peer(1), (address(1),), lied=1),)


def test_a_recalled_peer_is_judged_without_a_dial() -> None:
    reports = PeerReports()
    reports.recalled(peer(1), (address(2), address(1)))
    reports.note("server", peer(1), "lied", NOW)
    assert reports.take() == (PeerReport("server", peer(1), (address(2), address(1)), lied=1),)


def test_what_is_kept_and_told_at_once_is_bounded() -> None:
    reports = reached(*range(2000))
    for number in range(2000):
        for _again in range(3):
            reports.reached(peer(number), address(number))
            reports.note("server", peer(number), "lied", NOW)
    told = []
    while batch := reports.take():
        assert len(batch) <= peer_reports.MAX_REPORTED
        told += batch
    assert len(told) == peer_reports.MAX_PEERS
    assert len(reports._reached) == peer_reports.MAX_PEERS
    for number in range(20):
        reports.reached(peer(1), address(number))
    reports.note("server", peer(1), "answered", NOW)
    assert reports.take()[0].addresses == tuple(address(number) for number in range(19, 11, -1))
    for _time in range(3000):
        reports.note("server", peer(1), "lied", NOW)
    assert reports.take()[0].lied == 1000


def test_a_forgotten_device_is_not_told_of_any_more() -> None:
    reports = reached(1)
    reports.note("device", peer(1), "answered", NOW)
    reports.forget(peer(1))
    assert reports.take() == ()
    assert not reports.note("device", peer(1), "answered", NOW)
