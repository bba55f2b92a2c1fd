"""While users decide, the device that has shown the code may move: it is announced again, and looked for."""

from spacedrive_node.messages.to_discovery import StartProviding
from spacedrive_node.messages.to_session import CandidateFound
from spacedrive_node.messages.to_swarm import Ask
from spacedrive_node.tests.harness.session_simulation import Node, Pair, pair

ELSEWHERE = "/ip4/127.0.0.1/tcp/2"


def deciding() -> Pair:
    """Both users see the other device."""
    two = pair(7, accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    assert two.initiator.withdrawn == ["StopProviding"]
    assert two.joiner.withdrawn == ["StopFinding"]
    two.joiner.finding = None
    return two


def last_request(node: Node) -> Ask:
    assert node.swarm.last is not None
    return node.swarm.last


def found(peer: bytes) -> CandidateFound:
    return CandidateFound(peer, (ELSEWHERE,), ("dht",), hearsay=(ELSEWHERE,))


def test_who_does_not_answer_is_looked_for_until_it_does() -> None:
    """At the addresses found last first; the code is used, and nothing is asked of anybody else."""
    two = deciding()
    two.initiator.swarm.up = False
    two.simulation.run(lambda: two.joiner.finding is not None)
    two.joiner.deliver("discovery", found(b"stranger".ljust(34)))
    two.joiner.deliver("discovery", found(two.initiator.peer))
    before = last_request(two.joiner)
    two.simulation.run(lambda: last_request(two.joiner) is not before)
    assert last_request(two.joiner).addresses == (ELSEWHERE, "/ip4/127.0.0.1/tcp/1")
    assert last_request(two.joiner).hearsay == (ELSEWHERE,)
    two.initiator.swarm.up = True
    two.simulation.run(lambda: two.joiner.withdrawn.count("StopFinding") == 2)
    for node in two.nodes:
        node.decide(True)
    two.run()
    assert two.outcomes == ("paired", "paired")
    assert last_request(two.joiner).addresses[0] == ELSEWHERE


def test_one_who_answers_is_not_looked_for() -> None:
    two = deciding()
    two.simulation.run(limit=30)
    two.joiner.deliver("discovery", found(two.initiator.peer))
    assert two.joiner.finding is None
    for node in two.nodes:
        node.decide(True)
    two.run()
    assert ELSEWHERE not in last_request(two.joiner).addresses


def test_the_code_is_announced_again_when_the_swarm_has_started_again() -> None:
    """By the side that has shown it; also when it happens while the vault signs."""
    two = deciding()
    first = two.initiator.provided
    for node in two.nodes:
        node.swarm.crash()
    assert (len(two.initiator.provided), len(two.joiner.provided)) == (2, 0)
    assert first[0] == two.initiator.provided[1]
    two = pair(8)
    two.begin()
    two.simulation.run(lambda: two.initiator.withdrawn == ["StopProviding"])
    assert two.initiator.machine.session is not None
    assert two.initiator.machine.session.phase == "SIGNING"
    two.initiator.swarm.crash()
    assert two.initiator.provided == [two.initiator.provided[0]] * 2
    assert isinstance(two.initiator.provided[0], StartProviding)
    two.run()
    assert two.outcomes == ("paired", "paired")
