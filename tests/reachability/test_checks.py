"""Which server is asked about which address, and what the answers add up to; in virtual time."""

from spacedrive_node.actors.swarm.dial.addresses import Endpoint, parse
from spacedrive_node.actors.swarm.reachability import checks
from spacedrive_node.actors.swarm.reachability.checks import Check, Checks, Outcome, Verdict

MINE = parse("/ip4/45.77.1.1/tcp/7520")
OTHER = parse("/ip4/45.77.1.1/udp/7520/quic-v1")


def table(*hosts: str, closed: bool = True, candidates: tuple[Endpoint, ...] = (MINE,)) -> Checks:
    found = Checks(lambda _host, _endpoint, _now: closed)
    for number, host in enumerate(hosts):
        found.add_server(bytes([number]) * 38, host)
    found.set_candidates(candidates)
    return found


def hosts(count: int) -> tuple[str, ...]:
    return tuple(f"45.33.{number}.1" for number in range(count))


def answer(found: Checks, outcomes: list[Outcome], now: float = 0.0) -> None:
    """Have checks run until no one is left to be asked, or to answer."""
    left = list(outcomes)
    while left and (begun := found.begin(now)):
        for check in begun:
            found.end(check, left.pop(0) if left else "refused", now)


def verdict(outcomes: list[Outcome], count: int = 8) -> Verdict:
    found = table(*hosts(count))
    answer(found, outcomes)
    return found.verdict(MINE, 0.0)


def test_three_servers_decide() -> None:
    assert verdict(["reached"] * 3) == "reachable"
    assert verdict(["unreached"] * 3) == "unreachable"
    assert verdict(["reached"] * 2) == "unknown"
    assert verdict(["unreached"] * 2) == "unknown"
    assert verdict(["refused"] * 8) == "unknown"


def test_who_lies_about_a_failure_does_not_hide_that_others_came_through() -> None:
    assert verdict(["unreached", "reached", "unreached", "reached", "reached"]) == "reachable"
    assert verdict(["unreached", "unreached", "reached", "unreached", "unreached"]) == "unknown"


def test_three_are_asked_at_once_and_no_more() -> None:
    found = table(*hosts(8))
    assert len(found.begin(0.0)) == 3
    assert found.begin(0.0) == []


def test_one_of_each_block_is_asked() -> None:
    found = table("45.33.1.1", "45.33.1.2", "45.33.1.3", "45.33.2.1")
    assert [check.server[0] for check in found.begin(0.0)] == [0, 3]


def test_servers_of_private_networks_and_of_the_own_block_are_not_asked() -> None:
    found = table("192.168.1.1", "127.0.0.1", "fd00::1", "45.77.1.9", "gone")
    assert found.begin(0.0) == []


def test_a_server_to_which_the_port_was_opened_is_not_asked() -> None:
    """Behind an address-restricted NAT its dial would come through for that alone."""
    assert table(*hosts(3), closed=False).begin(0.0) == []


def test_a_server_answers_one_question_at_a_time() -> None:
    found = table(*hosts(3), candidates=(MINE, OTHER))
    begun = found.begin(0.0)
    assert len({check.server for check in begun}) == len(begun) == 3
    found.end(begun[0], "reached", 0.0)
    assert [check.endpoint for check in found.begin(0.0)] == [OTHER]


def test_a_liar_rests_for_an_hour_and_one_who_refuses_for_minutes() -> None:
    for outcome, rest in (("lied", checks.LIAR_REST_S), ("refused", checks.REFUSED_REST_S)):
        found = table(*hosts(1))
        (check,) = found.begin(0.0)
        found.end(check, outcome, 0.0)  # type: ignore[arg-type]
        assert found.begin(rest - 1) == []
        assert found.wake_at(0.0) == rest
        assert found.begin(rest) == [check]


def test_a_liar_does_not_win_by_connecting_anew() -> None:
    found = table(*hosts(1))
    (check,) = found.begin(0.0)
    found.end(check, "lied", 0.0)
    found.add_server(check.server, "45.33.0.1")
    assert found.begin(1.0) == []


def test_answers_are_asked_for_again_and_end() -> None:
    found = table(*hosts(3))
    answer(found, ["reached"] * 3)
    assert found.begin(checks.RECHECK_S - 1) == []
    assert found.wake_at(0.0) == checks.RECHECK_S
    assert len(found.begin(checks.RECHECK_S)) == 3
    assert found.verdict(MINE, checks.VALID_S - 1) == "reachable"
    assert found.verdict(MINE, checks.VALID_S) == "unknown"


def test_another_address_is_another_question() -> None:
    found = table(*hosts(3))
    answer(found, ["reached"] * 3)
    found.set_candidates([OTHER])
    assert found.verdict(MINE, 0.0) == "unknown"
    assert len(found.begin(0.0)) == 3


def test_another_network_makes_answers_void_also_those_under_way() -> None:
    found = table(*hosts(6))
    answer(found, ["reached"] * 3)
    under_way = table(*hosts(3))
    begun = under_way.begin(0.0)
    under_way.clear()
    for check in begun:
        under_way.end(check, "reached", 0.0)
    found.clear()
    assert found.verdict(MINE, 0.0) == under_way.verdict(MINE, 0.0) == "unknown"


def test_everything_is_bounded() -> None:
    found = table(*(f"45.{one // 250}.{one % 250}.1" for one in range(250)))
    many = [parse(f"/ip4/45.77.1.1/tcp/{port}") for port in range(1, 100)]
    found.set_candidates(many)
    assert len(found.begin(0.0)) <= checks.MAX_AT_ONCE
    assert len(found._answers) == checks.MAX_CANDIDATES
    assert len(found._servers) == checks.MAX_SERVERS


def test_the_end_of_an_unknown_check_says_nothing() -> None:
    found = table(*hosts(3))
    found.end(Check(b"x" * 38, MINE), "reached", 0.0)
    assert found.verdict(MINE, 0.0) == "unknown"
