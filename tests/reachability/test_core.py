"""What a node says of its reachability, from all evidence together; in virtual time, without sockets."""

import ipaddress
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID

from spacedrive_node.actors.base import now
from spacedrive_node.actors.swarm.dial import interfaces
from spacedrive_node.actors.swarm.dial.addresses import Endpoint, interface_addresses, parse
from spacedrive_node.actors.swarm.reachability import watch
from spacedrive_node.actors.swarm.reachability.checks import DOUBTED_S, VALID_S
from spacedrive_node.actors.swarm.reachability.contacts import REMEMBERED_S
from spacedrive_node.actors.swarm.reachability.core import ReachabilityCore
from spacedrive_node.actors.swarm.reachability.judgement import UNSOLICITED_S, fixed, serves_dht
from spacedrive_node.actors.swarm.reachability.watch import ReachabilityWatch
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.to_gateway import SwarmStatus
from spacedrive_node.messages.to_swarm import (
    MappedSince,
    ReachabilityEvidence,
    ReachedAnswer,
    SeenFrom,
    UnaskedConnection,
    decode,
)
from spacedrive_node.messages.types import DhtMode, Reachability
from spacedrive_node.tests.harness.swarm_actors import open_swarm

LISTENING = [parse("/ip4/0.0.0.0/tcp/7520"), parse("/ip4/0.0.0.0/udp/7520/quic-v1")]
HOME = [parse("/ip4/192.168.1.11/tcp/7520"), parse("/ip4/192.168.1.11/udp/7520/quic-v1")]
NAT = "45.77.1.1"
TCP, UDP = parse(f"/ip4/{NAT}/tcp/7520"), parse(f"/ip4/{NAT}/udp/7520/quic-v1")
MAPPED = parse(f"/ip4/{NAT}/tcp/31000")


def home(*, configured: tuple[Endpoint, ...] = ()) -> ReachabilityCore:
    own = [ipaddress.ip_address("192.168.1.11")]
    return ReachabilityCore(LISTENING, configured or HOME, lambda: own, is_configured=bool(configured))


def observers(core: ReachabilityCore, *ports: int) -> None:
    for number, port in enumerate(ports):
        seen = parse(f"/ip4/{NAT}/udp/{port}/quic-v1")
        core.seen_as(f"45.33.{number}.1", seen, 0.0, from_listening_port=True)


def check_all(core: ReachabilityCore, reached: bool, now: float = 0.0) -> set[Endpoint]:
    asked = set()
    while begun := core.begin_checks(now):
        for check in begun:
            asked.add(check.endpoint)
            core.end_check(check, "reached" if reached else "unreached", now)
    return asked


def servers(core: ReachabilityCore, count: int = 3) -> None:
    for number in range(count):
        core.add_server(bytes([number]) * 38, f"46.1.{number}.1")


def test_nothing_is_known_at_first() -> None:
    assert home().state(0.0) == "unknown"
    assert home().candidates(0.0) == []


@pytest.mark.parametrize(("ports", "state"), [((5000, 5000), "punchable"), ((5000, 5001), "symmetric")])
def test_the_kind_of_nat(ports: tuple[int, int], state: str) -> None:
    core = home()
    observers(core, *ports)
    assert core.state(1.0) == state
    servers(core)
    check_all(core, reached=False)
    assert core.state(1.0) == state


def test_three_dial_backs_make_a_node_public_and_its_address_known() -> None:
    core = home()
    observers(core, 7520, 7520)
    servers(core)
    assert check_all(core, reached=True) == {TCP, UDP}
    assert core.state(1.0) == "public"
    assert core.confirmed(1.0) == (TCP, UDP)


def test_udp_is_not_checked_by_those_to_whom_udp_was_sent() -> None:
    core = home()
    observers(core, 7520, 7520)
    servers(core)
    for number in range(3):
        core.dialled(f"46.1.{number}.1", 0.0, "udp")
    assert check_all(core, reached=True) == {TCP}


def test_an_unsolicited_connection_makes_a_node_public() -> None:
    core = home()
    assert core.accepted("47.1.1.1", LISTENING[0], 0.0)
    assert core.state(1.0) == "public"
    assert core.state(UNSOLICITED_S) == "unknown"
    assert core.wake_at(1.0) <= UNSOLICITED_S


@pytest.mark.parametrize(
    "host",
    ["192.168.1.12", "127.0.0.1", "100.64.1.1", "169.254.1.1", "fd00::1", "45.33.0.9", "45.77.1.200", ""],
)
def test_what_is_no_unsolicited_connection(host: str) -> None:
    """From a private network, from where something was sent to, or from behind the same NAT."""
    core = home()
    core.dialled("45.33.0.1", 0.0)
    observers(core, 7520)
    assert not core.accepted(host, LISTENING[0], 1.0)
    assert core.state(2.0) == "unknown"


def test_only_the_first_connection_from_a_block_is_unsolicited() -> None:
    core = home()
    assert core.accepted("47.1.1.1", LISTENING[0], 0.0)
    assert not core.accepted("47.1.1.2", LISTENING[0], 1.0)


def test_a_mapping_is_checked_and_not_believed_by_itself() -> None:
    core = home()
    core.set_mappings([MAPPED], 0.0)
    assert core.candidates(0.0) == [MAPPED]
    assert core.confirmed(0.0) == ()
    servers(core)
    check_all(core, reached=True)
    assert core.confirmed(1.0) == (MAPPED,)
    core.set_mappings([], 2.0)
    core.begin_checks(2.0)
    assert core.confirmed(2.0) == ()


def test_an_unsolicited_connection_vouches_for_a_mapping_that_was_there() -> None:
    core = home()
    core.accepted("47.1.1.1", LISTENING[0], 0.0)
    core.set_mappings([MAPPED], 1.0)
    assert core.confirmed(2.0) == ()
    core.accepted("47.1.2.1", LISTENING[1], 3.0)  # over UDP: says nothing of TCP
    assert core.confirmed(4.0) == ()
    core.accepted("47.1.3.1", LISTENING[0], 5.0)
    assert core.confirmed(6.0) == (MAPPED,)


def test_a_mapping_of_the_gateway_that_does_not_work_is_not_announced() -> None:
    core = home()
    core.set_mappings([MAPPED], 0.0)
    servers(core)
    check_all(core, reached=False)
    assert core.confirmed(1.0) == ()
    assert core.state(1.0) == "unknown"


def test_configured_addresses_are_checked_and_no_others_are_added() -> None:
    mine = parse("/ip4/45.99.1.1/tcp/443")
    core = home(configured=(mine,))
    core.set_mappings([MAPPED], 0.0)
    observers(core, 7520, 7520)
    servers(core)
    assert check_all(core, reached=True) == {mine}
    assert core.state(1.0) == "public"
    assert core.confirmed(1.0) == ()


def test_private_and_lying_observations_are_left_out() -> None:
    core = home()
    for number, seen in enumerate(("192.168.1.5", "127.0.0.1", "10.0.0.1")):
        for observer in (f"45.33.{number}.1", f"45.34.{number}.1"):
            core.seen_as(observer, parse(f"/ip4/{seen}/tcp/1"), 0.0, from_listening_port=True)
    core.seen_as("192.168.1.1", UDP, 0.0, from_listening_port=True)
    core.seen_as("2a01::1", UDP, 0.0, from_listening_port=True)
    assert (core.state(1.0), core.candidates(1.0)) == ("unknown", [])


def test_another_network_begins_anew() -> None:
    core = home()
    observers(core, 7520, 7520)
    servers(core)
    check_all(core, reached=True)
    core.accepted("47.1.1.1", LISTENING[0], 0.0)
    core.network_changed(HOME)
    assert (core.state(1.0), core.confirmed(1.0)) == ("unknown", ())


def test_who_keeps_to_itself_finds_nothing_out() -> None:
    loopback = ("/ip4/127.0.0.1/tcp/7520",)
    assert fixed(SwarmConfig(listen=loopback, offline=True), loopback) == "this host"
    assert fixed(SwarmConfig(listen=loopback), loopback) == "this host"
    assert fixed(SwarmConfig(listen=loopback, lan_only=True), ("/ip4/192.168.1.1/tcp/1",)) == "private"
    assert fixed(SwarmConfig(listen=loopback), ("/ip4/192.168.1.1/tcp/1",)) is None
    assert fixed(SwarmConfig(listen=loopback), ("/dns/example.org/tcp/1",)) is None


@pytest.mark.parametrize("public", [False, True])
def test_the_dht_is_served_by_who_is_reachable(public: bool) -> None:
    """In the public network that is from everywhere."""

    def serves(mode: DhtMode, state: Reachability) -> bool:
        config = SwarmConfig(listen=("/ip4/127.0.0.1/tcp/7520",), dht_mode=mode, public=public)
        return serves_dht(config, state)

    states: tuple[Reachability, ...] = ("unknown", "public", "punchable", "symmetric", "private", "this host")
    assert {state for state in states if serves("auto", state)} == (
        {"public"} if public else {"public", "private", "this host"}
    )
    assert serves("server", "unknown")
    assert not serves("client", "public")


def test_where_a_peer_that_dials_at_the_same_time_may_reach_this_node() -> None:
    """One observer is enough; of a port that none has seen it is supposed that the NAT keeps it."""
    core = ReachabilityCore(
        [parse("/ip4/0.0.0.0/tcp/7520"), parse("/ip4/0.0.0.0/udp/7520/quic-v1")], [], list
    )
    assert core.offers(0.0) == ()
    core.seen_as("45.33.1.1", parse("/ip4/45.77.1.1/udp/4444/quic-v1"), 0.0, from_listening_port=True)
    assert [str(one) for one in core.offers(1.0)] == [
        "/ip4/45.77.1.1/udp/4444/quic-v1",
        "/ip4/45.77.1.1/tcp/7520",
    ]
    core.network_changed([])
    assert core.offers(1.0) == ()


def test_after_an_interruption_all_has_to_be_proved_again() -> None:
    """Answers count a moment longer, in which the next ones come; unasked connections do not come again."""
    core = home()
    observers(core, 7520, 7520)
    servers(core)
    asked = check_all(core, reached=True)
    core.accepted("47.1.1.1", LISTENING[0], 0.0)
    core.interrupted(["45.33.0.1", "45.33.1.1"], 100.0)
    assert core.state(101.0) == "public"
    assert core.wake_at(101.0) <= 100.0 + DOUBTED_S
    assert core.state(100.0 + DOUBTED_S) == "punchable"
    assert check_all(core, reached=True, now=102.0) == asked
    assert core.state(100.0 + DOUBTED_S) == "public"


def test_after_an_interruption_only_those_count_who_are_still_connected() -> None:
    core = home()
    observers(core, 7520, 7520)
    core.interrupted(["45.33.0.1"], 1.0)
    assert core.state(2.0) == "unknown"


def test_a_process_that_is_restarted_knows_what_the_former_one_knew() -> None:
    former, core = home(), home()
    observers(former, 7520, 7520)
    servers(former)
    former.set_mappings([MAPPED], 0.0)
    check_all(former, reached=True)
    kept = decode(encode(former.kept(["192.168.1.11"])))
    assert isinstance(kept, ReachabilityEvidence)
    core.resume(kept, 1.0)
    servers(core)
    assert core.confirmed(1.0) == former.confirmed(1.0) != ()
    assert core.begin_checks(1.0) == []
    for at in (1.0, VALID_S - 1.0, VALID_S):
        assert core.state(at) == former.state(at)
    assert core.kept(["192.168.1.11"]) == kept


def test_what_is_kept_of_much_evidence_fits_into_its_message() -> None:
    core = home()
    for number in range(200):
        seen = parse(f"/ip4/{NAT}/udp/{number + 1}/quic-v1")
        core.seen_as(f"45.{number}.1.1", seen, float(number), from_listening_port=True)
    core.set_mappings([parse(f"/ip4/{NAT}/tcp/{31000 + number}") for number in range(8)], 0.0)
    servers(core, 60)
    for number in range(20):
        check_all(core, reached=False, now=900.0 * number)
    kept = core.kept([f"192.168.{number}.1" for number in range(100)])
    assert decode(encode(kept)) == kept
    assert len(kept.seen) == 32
    assert len(kept.answers) > 8


def test_a_former_process_knew_nothing_of_another_network() -> None:
    """Decided where the interfaces are known."""
    kept = ReachabilityEvidence(("198.51.100.1",), unasked=(UnaskedConnection("tcp", "ip4", now()),))
    for network, state in (({"198.51.100.1"}, "public"), ({"203.0.113.1"}, "unknown")):
        watch = watch_in(network)
        watch.resume(kept)
        assert watch.state == state


@pytest.mark.parametrize(
    "rubbish",
    [
        {"answers": (ReachedAnswer("x", "45.33", True, 1.0),)},
        {"seen": (SeenFrom("45.33", "/ip4/1.2.3.4", True, 1.0),)},
        {"mapped": (MappedSince("/tcp/1", 1.0),)},
    ],
)
def test_rubbish_of_a_former_process_is_dropped(rubbish: Any) -> None:
    """It may have been taken over: its successor begins anew, and does not end of it."""
    unasked = (UnaskedConnection("tcp", "ip4", now()),)
    watch = watch_in({"198.51.100.1"})
    watch.resume(ReachabilityEvidence(("198.51.100.1",), unasked=unasked, **rubbish))
    assert watch.state == "unknown"
    assert watch._core.state(now()) == "unknown"


def test_what_is_kept_counts_no_longer_than_if_it_were_new() -> None:
    """Whatever time a former process has said."""
    core = home()
    core.resume(ReachabilityEvidence((), unasked=(UnaskedConnection("tcp", "ip4", 1e9),)), 100.0)
    assert core.state(100.0 + UNSOLICITED_S - 1) == "public"
    assert core.state(100.0 + UNSOLICITED_S) != "public"


def watch_in(network: set[str]) -> ReachabilityWatch:
    return ReachabilityWatch(
        _NoHost(),
        listening=LISTENING,
        announced=HOME,
        is_configured=False,
        fixed=None,
        existing=lambda _peer: None,
        start_task=lambda *_arguments: None,
        changed=lambda: None,
        network_of_host=lambda: frozenset(network),
    )


class _Live:
    """A connection with a peer that is somewhere; this side has the TCP port that is listened on."""

    transport = "tcp"
    local_port = 7520

    def __init__(self, host: str, *, is_initiator: bool = False) -> None:
        self.muxed_conn = self
        self.is_initiator = is_initiator
        self.peer_id = ID(b"\x12\x20" + bytes(32))
        self._host = host

    def get_remote_address(self) -> tuple[str, int]:
        return self._host, 4001


async def test_the_hole_of_a_connection_is_open_as_long_as_it_lives(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """With a relay for days, say. What comes from there proves nothing, and it is not asked to dial back."""
    monkeypatch.setattr(watch, "now", trio.current_time)
    one, relay = watch_in({"198.51.100.1"}), _Live("46.1.0.1", is_initiator=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        one.connected(relay)
        await trio.sleep(3 * REMEMBERED_S)  # virtual
        one.connected(back := _Live("46.1.0.9"))
        await trio.sleep(1.0)
        assert one.state == "unknown"
        assert not one._core._contacts.is_closed("46.1.0.1", "tcp", trio.current_time())
        one.disconnected(back)
        one.disconnected(relay)
        await trio.sleep(REMEMBERED_S - 1.0)
        one.connected(back := _Live("46.1.0.9"))
        await trio.sleep(1.0)
        assert one.state == "unknown"
        one.disconnected(back)
        await trio.sleep(REMEMBERED_S + 1.0)
        one.connected(_Live("46.1.0.9"))
        await trio.sleep(1.0)
        assert one.state == "public"
        nursery.cancel_scope.cancel()


async def test_who_has_come_unasked_and_stays_may_be_asked_after_a_while(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """In a small network all servers have come to this node, and nobody else is there to dial it back."""
    monkeypatch.setattr(watch, "now", trio.current_time)
    one = watch_in({"198.51.100.1"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        one.connected(_Live("46.1.0.1"))
        await trio.sleep(1.0)  # virtual
        assert one.state == "public"
        assert not one._core._contacts.is_closed("46.1.0.1", "tcp", trio.current_time())
        await trio.sleep(REMEMBERED_S + 1.0)
        assert one._core._contacts.is_closed("46.1.0.1", "tcp", trio.current_time())
        nursery.cancel_scope.cancel()


async def test_a_swarm_that_is_restarted_says_what_the_former_one_said() -> None:
    network = tuple(sorted(interfaces.network()))
    evidence = ReachabilityEvidence(network, unasked=(UnaskedConnection("tcp", "ip4", now()),))
    config = SwarmConfig(listen=("/ip4/0.0.0.0/tcp/0",))
    if fixed(config, [f"/ip4/{own.ip}/tcp/1" for own in interface_addresses()]):
        pytest.skip("this host has no address but that of loopback")
    async with open_swarm("a", config, standing=(("swarm", evidence),), incarnation=2) as a:
        first = await a.expect(SwarmStatus)
        assert (first.reachability, first.dht_mode) == ("public", "server")


class _NoHost:
    def set_stream_handler(self, _protocol: str, _handle: object) -> None:
        return
