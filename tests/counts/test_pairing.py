"""What one pairing costs in things that can be counted, the same on every machine.

A figure here changes only together with the protocol or with what the actors say to each other. A change that
makes one greater has to be worth it; one that makes it smaller is pinned by changing the figure.
"""

from collections import Counter

import pytest

from spacedrive_node.tests.harness.counted_pairing import OnePairing, Side, one_pairing

pytestmark = pytest.mark.timeout(120)

# What depends on the clock, not on the pairing: reports of measurements and of the state of a node, and what
# the DHT servers know of each other. SessionEnded may come after the last word to the user, or not.
ON_THE_SIDE = {
    "Observed",
    "PeersBehaved",
    "SwarmStatus",
    "Readiness",
    "ServerJoined",
    "ServerLost",
    "SessionEnded",
    "SessionLimit",
}
LOOKING = {"KadRequest", "KadReply", "KadFailed", "ClosestServers", "Servers", "Bootstrap"}


@pytest.fixture(scope="module")
def pairing(tmp_path_factory: pytest.TempPathFactory) -> OnePairing:
    """One pairing, recorded."""
    return one_pairing(tmp_path_factory.mktemp("counts"))


def test_four_round_trips_between_the_devices(pairing: OnePairing) -> None:
    """The joiner asks three times, the initiator once: code, identity, and a decision each way."""
    kinds = [
        Counter(message.wire for message in side.wire_frames().values() if message.kind == "Ask")
        for side in (pairing.initiator, pairing.joiner)
    ]
    assert kinds[0] == {"PairingDecision": 1}
    assert kinds[1] == {"PairingRequest": 1, "ChallengeResponse": 1, "PairingDecision": 1}


def test_bytes_on_the_wire(pairing: OnePairing) -> None:
    """The frames of the pairing protocol, without their lengths: exact, but where a device describes itself.

    A description has the name, the system's name and a version; those of this test are short.
    """
    sizes: dict[str, set[int]] = {}
    for side in (pairing.initiator, pairing.joiner):
        for message in side.wire_frames().values():
            sizes.setdefault(message.wire, set()).add(message.wire_size)
    described = {kind: max(sizes.pop(kind)) for kind in ("ChallengeResponse", "ChallengeConfirmation")}
    assert sizes == {
        "PairingRequest": {152},
        "Challenge": {183},
        "PairingDecision": {107},
        "DecisionReceived": {110},
    }
    assert described["ChallengeResponse"] <= 400
    assert described["ChallengeConfirmation"] <= 360


def test_one_process_on_each_side(pairing: OnePairing) -> None:
    """And none is restarted."""
    assert pairing.initiator.spawned == pairing.joiner.spawned == ["session"]


@pytest.mark.parametrize("role", ["initiator", "joiner"])
def test_messages_through_the_supervisor(pairing: OnePairing, role: str) -> None:
    """Every message that an actor is given, by kind. The initiator accepts first: its vault stores once."""
    both = {
        "Serve": 1, "SignIdentity": 1, "Signed": 1, "PeerEvidence": 1, "Decide": 1, "Accept": 1,
        "StoreDevice": 1, "SessionView": 6,
    }  # fmt: skip
    own = {
        "initiator": {
            "StartPairing": 1, "StartProviding": 1, "StopProviding": 1,
            "PeerRequest": 3, "PeerReply": 3, "Ask": 1, "PeerAnswer": 1, "Stored": 1, "KnownPeer": 1,
        },
        "joiner": {
            "JoinPairing": 1, "Find": 1, "StopFinding": 1, "CandidateFound": 1,
            "PeerRequest": 1, "PeerReply": 1, "Ask": 3, "PeerAnswer": 3,
            "ConfirmDevice": 1, "Stored": 2, "KnownPeer": 2,
        },
    }  # fmt: skip
    delivered = getattr(pairing, role).delivered()
    counted = {kind: n for kind, n in delivered.items() if kind not in ON_THE_SIDE | LOOKING}
    assert counted == {**both, **own[role]}


def test_requests_to_the_dht(pairing: OnePairing) -> None:
    """With one server: the initiator asks for neighbours and announces, the joiner asks for providers.

    The joiner looks again, in the same way, while the devices have not met, which depends on the machine.
    """
    (announced,) = requests_of_lookups(pairing.initiator)
    assert announced == {"find_node": 1, "add_provider": 1}
    first, *again = requests_of_lookups(pairing.joiner)
    assert first == {"get_providers": 1}
    assert all(one <= first for one in again)


def requests_of_lookups(side: Side) -> list[Counter[str]]:
    """Return the requests about the code to DHT servers, by lookup.

    Each lookup begins with a question for the routing table. Servers look themselves up too, at any time.
    """
    (key,) = {message.key for message in side.passed if message.op in ("add_provider", "get_providers")}
    found: list[Counter[str]] = []
    for message in side.passed:
        if message.direction != "in" or message.key != key:
            continue
        if message.kind == "ClosestServers":
            found.append(Counter())
        elif message.kind == "KadRequest":
            found[-1][message.op] += 1
    return found


@pytest.mark.parametrize("role", ["initiator", "joiner"])
def test_checkpoints_stay_small(pairing: OnePairing, role: str) -> None:
    """Each step carries one through the supervisor: frames to repeat, keys and states, but no history.

    The bounds leave room for longer names and for more addresses than loopback's.
    """
    side = getattr(pairing, role)
    assert side.largest_checkpoint("session") <= 5120
    assert side.largest_checkpoint("vault") <= 512
