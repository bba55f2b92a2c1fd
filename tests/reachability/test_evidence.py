"""What counts as evidence: who was contacted, how peers see this node, what a nonce proves."""

from spacedrive_node.actors.swarm.dial.addresses import Endpoint, parse
from spacedrive_node.actors.swarm.reachability import contacts, observed
from spacedrive_node.actors.swarm.reachability.contacts import Contacts
from spacedrive_node.actors.swarm.reachability.nonces import MAX_NONCES, Arrival, Nonces
from spacedrive_node.actors.swarm.reachability.observed import Observed

HOST = "45.33.1.7"


def test_a_contact_opens_its_block_and_no_other() -> None:
    known = Contacts()
    known.note(HOST, 0.0)
    assert not known.is_untouched("45.33.1.200", 1.0)
    assert known.is_untouched("45.33.2.7", 1.0)
    assert known.is_untouched(HOST, contacts.REMEMBERED_S + 1)


def test_a_dial_from_another_port_opens_neither_port() -> None:
    """REPORT of the laboratory: what a NAT lets in is decided by the port from which something left."""
    known = Contacts()
    known.note(HOST, 0.0)
    assert known.is_closed(HOST, "tcp", 1.0)
    known.note(HOST, 2.0, "udp")
    assert known.is_closed(HOST, "tcp", 3.0)
    assert not known.is_closed(HOST, "udp", 3.0)
    known.note(HOST, contacts.REMEMBERED_S, None)  # the block is still in use, that port is not
    assert known.is_closed(HOST, "udp", contacts.REMEMBERED_S + 2.5)


def test_a_full_table_proves_nothing() -> None:
    """Who makes this node dial four thousand places cannot come from one of them and count as unasked."""
    known = Contacts()
    for number in range(contacts.MAX_BLOCKS):
        known.note(f"45.{number >> 8}.{number & 255}.1", 0.0)
    assert known.is_untouched("46.0.0.1", 1.0)
    known.note("47.0.0.1", 2.0, "udp")
    for host in ("46.0.0.1", "47.0.0.1"):
        assert not known.is_untouched(host, 3.0)
        assert not known.is_closed(host, "udp", 3.0)
    assert known.is_untouched("46.0.0.1", 2 * contacts.REMEMBERED_S)


def test_what_is_no_address_proves_nothing() -> None:
    known = Contacts()
    known.note("gone", 0.0)
    assert not known.is_untouched("gone", 1.0)
    assert not known.is_closed("gone", "tcp", 1.0)


def quic(port: int, host: str = "45.77.1.1") -> Endpoint:
    return parse(f"/ip4/{host}/udp/{port}/quic-v1")


def seen(*named: tuple[str, int], listening: bool = True) -> Observed:
    found = Observed()
    for observer, port in named:
        found.note(observer, quic(port), 0.0, from_listening_port=listening)
    return found


def test_two_observers_that_agree_tell_an_independent_mapping() -> None:
    found = seen(("45.33.1.1", 5000), ("45.33.2.1", 5000))
    assert found.mapping(1.0) == "independent"
    assert found.mapped(1.0) == [quic(5000)]
    assert [str(ip) for ip in found.hosts(1.0)] == ["45.77.1.1"]
    assert found.mapping(observed.REMEMBERED_S) == "unknown"


def test_observers_that_all_differ_tell_a_symmetric_nat() -> None:
    found = seen(("45.33.1.1", 5000), ("45.33.2.1", 5001))
    assert found.mapping(1.0) == "dependent"
    assert found.mapped(1.0) == []


def test_one_observer_or_one_block_tells_nothing() -> None:
    assert seen(("45.33.1.1", 5000)).mapping(1.0) == "unknown"
    assert seen(("45.33.1.1", 5000), ("45.33.1.2", 5001)).mapping(1.0) == "unknown"
    assert seen(("45.33.1.1", 5000), ("45.33.2.1", 5000), listening=False).mapping(1.0) == "unknown"


def test_a_liar_does_not_outweigh_two_who_agree() -> None:
    found = seen(("45.33.1.1", 5000), ("45.33.2.1", 5000), ("45.33.3.1", 9))
    assert found.mapping(1.0) == "independent"
    assert found.mapped(1.0) == [quic(5000)]


def test_the_address_is_known_also_from_other_ports() -> None:
    """TCP dials leave from any port: they tell the IP address, not the mapping."""
    found = Observed()
    for observer, port in (("45.33.1.1", 1), ("45.33.2.1", 2)):
        seen_as = parse(f"/ip4/45.77.1.1/tcp/{port}")
        found.note(observer, seen_as, 0.0, from_listening_port=False)
    assert found.mapping(1.0) == "unknown"
    assert [str(ip) for ip in found.hosts(1.0)] == ["45.77.1.1"]


def test_observations_are_bounded() -> None:
    found = seen(*((f"45.33.{number}.1", number) for number in range(200)))
    assert len(found._found["quic", "ip4"]) == observed.MAX_OBSERVATIONS


TCP = parse("/ip4/45.77.1.1/tcp/7520")
GOOD = Arrival("tcp", HOST, 7520, is_inbound=True, made_at=11.0)


def arrives(arrival: Arrival, nonce: int = 5) -> bool:
    nonces = Nonces()
    assert nonces.issue(5, TCP, frozenset({7520}), 10.0)
    proves = nonces.arrive(nonce, arrival)
    assert nonces.take(5) == proves
    return proves


def test_a_nonce_proves_what_was_asked_and_nothing_else() -> None:
    assert arrives(GOOD)
    assert not arrives(GOOD, nonce=6)
    for wrong in (
        Arrival("quic", HOST, 7520, is_inbound=True, made_at=11.0),
        Arrival("tcp", "2a01::1", 7520, is_inbound=True, made_at=11.0),
        Arrival("tcp", HOST, 40000, is_inbound=True, made_at=11.0),
        Arrival("tcp", HOST, None, is_inbound=True, made_at=11.0),
        Arrival("tcp", HOST, 7520, is_inbound=False, made_at=11.0),
        Arrival("tcp", HOST, 7520, is_inbound=True, made_at=9.0),
        Arrival("tcp", HOST, 7520, is_inbound=True, made_at=None),
        Arrival("tcp", "", 7520, is_inbound=True, made_at=11.0),
    ):
        assert not arrives(wrong), wrong


def test_nonces_are_bounded_and_end() -> None:
    nonces = Nonces()
    for number in range(MAX_NONCES):
        assert nonces.issue(number, TCP, frozenset({7520}), 0.0)
    assert not nonces.issue(MAX_NONCES, TCP, frozenset({7520}), 0.0)
    assert not nonces.take(3)
    assert not nonces.issue(4, TCP, frozenset({7520}), 0.0)
    assert nonces.issue(MAX_NONCES, TCP, frozenset({7520}), 0.0)
    assert not nonces.arrive(3, GOOD)
