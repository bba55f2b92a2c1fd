"""Circuit addresses: their form, what is announced of them, and what is believed when others name them."""

import ipaddress

import pytest
import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.service import addresses_on, read_peer
from spacedrive_node.actors.swarm.dial import addresses, plan
from spacedrive_node.actors.swarm.dial.dialer import Dialer, UnreachableError
from spacedrive_node.actors.swarm.dial.hearsay import heard
from spacedrive_node.actors.swarm.kad.dht_client import dialable_addresses, readable_addresses
from spacedrive_node.actors.swarm.library import host_factory
from spacedrive_node.actors.swarm.library.identify import remember
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.code import parse_code, qr_payload
from spacedrive_node.protocol.multiaddrs import AddressError, parse
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.library_hosts import keys, our_host, plain_host, running

RELAY = peer_id_text(bytes.fromhex("002408011220") + bytes(range(32)))
OTHER = peer_id_text(bytes.fromhex("002408011220") + bytes(range(1, 33)))
CIRCUIT = f"/ip4/45.83.104.7/tcp/7520/p2p/{RELAY}/p2p-circuit"
DEADLINE = 60


@pytest.mark.parametrize(
    "text",
    [
        CIRCUIT,
        f"/dns4/relay.example/tcp/443/tls/ws/p2p/{RELAY}/p2p-circuit",
        f"/ip6/2001:db8::1/udp/7520/quic-v1/p2p/{RELAY}/p2p-circuit",
    ],
)
def test_forms(text: str) -> None:
    """With or without the peer that is meant; it survives the DHT's binary form and other ports."""
    assert str(parse(text)) == str(parse(f"{text}/p2p/{OTHER}")) == text
    assert parse(text).relay == RELAY
    assert str(parse(text).direct) == text.partition("/p2p/")[0]
    assert parse(text).direct.through(RELAY) == parse(text)
    assert readable_addresses(dialable_addresses([Multiaddr(f"{text}/p2p/{OTHER}")])) == (text,)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/45.83.104.7/tcp/7520/p2p-circuit",
        f"/p2p/{RELAY}/p2p-circuit",
        f"{CIRCUIT}/p2p-circuit",
        f"{CIRCUIT}/p2p/{OTHER}/p2p-circuit",
        "/ip4/45.83.104.7/tcp/7520/p2p/12D3Koo/p2p-circuit",
        f"/ip4/45.83.104.7/tcp/7520/p2p/{RELAY[:-1]}/p2p-circuit",
    ],
)
def test_what_is_no_way_through_one_relay_is_refused(text: str) -> None:
    """No relay, no address of it, two relays, no peer id."""
    with pytest.raises(AddressError):
        parse(text)


def test_direct_addresses_are_dialled_first() -> None:
    """Whatever the order in which they are named; what worked before does not change that."""
    direct = "/ip4/192.0.2.1/tcp/1"
    targets = [
        plan.Target(one, kind="relayed" if one.relay else "direct")
        for one in addresses.usable([CIRCUIT, direct])
    ]
    known = plan.Known(worked=(parse(CIRCUIT),))
    assert [str(one.endpoint) for one in plan.in_order(targets, known)] == [direct, CIRCUIT]


def test_who_takes_few_addresses_gets_some_of_both_kinds() -> None:
    """A QR text names four, and a DHT server keeps eight of a peer."""
    direct = tuple(f"/ip4/192.0.2.{number}/tcp/1" for number in range(1, 9))
    circuits = (CIRCUIT, CIRCUIT.replace("7520", "7521"))
    told = addresses.with_circuits(direct, circuits)
    assert told[:4] == (*direct[:2], *circuits)
    assert set(told) == {*direct, *circuits}
    assert addresses.with_circuits(direct, ()) == direct
    (hint,) = parse_code(qr_payload(bytes(16), bytes.fromhex("002408011220") + bytes(32), told[:4]))[1]
    assert hint.addresses == told[:4]


def test_what_is_believed_of_a_circuit_is_what_is_believed_of_its_relay() -> None:
    """One on a private network is believed from a server there; it is hearsay unless it is the server."""
    private = CIRCUIT.replace("45.83.104.7", "10.0.0.1")
    named = PeerAddresses(ID.from_base58(OTHER).to_bytes(), (CIRCUIT, private))
    assert heard(named, "45.83.104.7").addresses == (CIRCUIT,)
    assert heard(named, "45.83.104.7").hearsay == ()
    assert heard(named, None).hearsay == (CIRCUIT,)
    assert heard(named, "10.0.0.1").addresses == (CIRCUIT, private)


def test_a_block_of_a_relay_is_like_no_network() -> None:
    """It is not loopback's, counts as a public one, and has no IP address."""
    block = f"relay:{RELAY}"
    assert addresses.block_of(block) == block
    assert not addresses.is_loopback_block(block)
    assert addresses.is_public_block(block)
    assert addresses.ip_of(block) is None
    assert not addresses.is_local_host(block)


def test_mdns_names_and_believes_no_circuit() -> None:
    """Who is on the local network needs no relay, and a relay there may lead anywhere."""
    ip = ipaddress.ip_address("192.168.1.2")
    interface = Interface(2, (ipaddress.ip_interface("192.168.1.2/24"),))
    near = f"/ip4/192.168.1.2/tcp/7520/p2p/{RELAY}/p2p-circuit"
    assert addresses_on(interface, [near]) == ()
    strings = [f"p={OTHER}".encode(), f"a={near}".encode()]
    assert read_peer(strings, ip, interface) is None


@pytest.mark.parametrize("corrected", [False, True])
async def test_identify_reports_a_circuit_whole(corrected: bool) -> None:
    """As the library is, it says that this node is at its relay's address."""
    listened = [Multiaddr(CIRCUIT)]
    if corrected:
        host = host_factory.new_host(keys(1), 8, lambda: listened)
    else:
        host = plain_host(1, announce_addrs=listened)
    (told,) = host.get_addrs()
    assert (str(told) == f"{CIRCUIT}/p2p/{host.get_id()}") is corrected


async def test_a_peer_s_circuits_are_remembered_from_identify() -> None:
    """In the peer store they can be read as addresses to dial."""
    asking, named = our_host(1), our_host(2)
    from libp2p.identity.identify.pb.identify_pb2 import Identify

    message = Identify(listen_addrs=[Multiaddr(CIRCUIT).to_bytes()])
    assert remember(asking.get_peerstore(), named.get_id(), message.SerializeToString())
    assert readable_addresses(asking.get_peerstore().addrs(named.get_id())) == (CIRCUIT,)


@pytest.mark.parametrize("kind", ["lan_only", "offline"])
async def test_a_node_that_stays_near_dials_through_no_relay(kind: str) -> None:
    """Whatever was named, and wherever the relay is."""
    host = our_host(1)
    async with running(host), trio.open_nursery() as nursery:
        dialer = Dialer(host.get_network(), host.get_id().to_bytes(), nursery, **{kind: True})

        async def never(_connection: object, _peer: bytes) -> None:
            raise AssertionError("dialled through a relay")

        dialer.use_circuits(never, lambda _family: None)
        near = f"/ip4/127.0.0.1/tcp/1/p2p/{RELAY}/p2p-circuit"
        with trio.fail_after(DEADLINE), pytest.raises(UnreachableError, match="no address"):
            await dialer.connect(ID.from_base58(OTHER).to_bytes(), [near])
        nursery.cancel_scope.cancel()
