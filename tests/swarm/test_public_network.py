"""What a swarm is in the public network: a client that tells strangers public addresses alone."""

import hashlib
from typing import Any

import pytest
from libp2p.identity.identify.identify import ID as IDENTIFY_ID
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm import roles
from spacedrive_node.actors.swarm.dial.hearsay import for_strangers
from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.to_discovery import KadFailed, KadReply
from spacedrive_node.messages.to_gateway import SwarmStatus
from spacedrive_node.messages.to_swarm import KadRequest
from spacedrive_node.tests.harness.stranger_peer import stranger_host
from spacedrive_node.tests.harness.transports import dial_address, listen_addresses

PUBLIC = "/ipfs/kad/1.0.0"
KEY = b"\x12\x20" + hashlib.sha256(b"rendezvous").digest()


def config(**more: Any) -> SwarmConfig:
    return SwarmConfig(listen=listen_addresses(), public=True, dht_protocol=PUBLIC, **more)


async def identified(node: Any) -> Identify:
    """Return what a stranger gets to know who asks by identify, at the address where the node listens."""
    async with stranger_host() as stranger:
        connection = await dial_address(stranger, node.up.listening[0], node.peer, None)
        async with streams.open_stream(connection, IDENTIFY_ID) as stream:
            message = Identify()
            message.ParseFromString(await streams.read_varint_message(stream, 64 * 1024))
            return message


@pytest.mark.parametrize(
    ("more", "is_server"),
    [
        ({}, False),
        ({"announce": ("/ip4/45.1.1.1/tcp/7520",)}, False),
        ({"announce": ("/ip4/45.1.1.1/tcp/7520",), "dht_mode": "client"}, False),
        ({"dht_mode": "server"}, True),
    ],
)
async def test_it_serves_the_dht_only_when_that_is_proved_or_commanded(
    swarm: Any, more: dict[str, Any], is_server: bool
) -> None:
    async with swarm("a", config(**more)) as a:
        status = await a.expect(SwarmStatus)
        assert status.dht_mode == ("server" if is_server else "client")
        assert (PUBLIC in (await identified(a)).protocols) == is_server


async def test_strangers_are_told_no_address_of_this_host_or_its_network(
    swarm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This node has no other: it says so, and announces nothing. Its own user still gets all of them."""
    monkeypatch.setattr(roles, "FIRST_RELAY_S", 0.2)
    async with swarm("a", config()) as a, swarm("server", config(dht_mode="server")) as server:
        assert list((await identified(a)).listen_addrs) == []
        assert (await a.expect(SwarmStatus)).addresses == a.addresses != ()
        await a.expect_log(roles.NOTHING_TO_TELL)
        for number, op in enumerate(("find_node", "add_provider")):
            request = KadRequest(number, server.peer, server.addresses, op, KEY, 10.0)  # type: ignore[arg-type]
            await a.deliver("discovery", request)
            reply = await a.expect(KadReply | KadFailed, "discovery", lambda m, n=number: m.request == n)
            assert isinstance(reply, KadFailed) == (op == "add_provider")


async def test_what_the_user_announces_is_told_as_it_is(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "FIRST_RELAY_S", 0.0)
    async with swarm("a", config(announce=("/ip4/127.0.0.1/tcp/1",))) as a:
        told = [str(Multiaddr(bytes(one))) for one in (await identified(a)).listen_addrs]
        assert told == ["/ip4/127.0.0.1/tcp/1"]
        assert roles.NOTHING_TO_TELL not in [log.event for log in a.logs]


def test_which_addresses_are_for_strangers() -> None:
    public = ("/ip4/45.1.1.1/tcp/1", "/ip6/2600::1/udp/1/quic-v1", "/dns4/node.example.org/tcp/1")
    own = (
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/100.64.0.1/tcp/1",
        "/ip4/169.254.0.1/tcp/1",
        "/ip6/fd00::1/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip6/::1/tcp/1",
    )
    assert for_strangers((*own, *public)) == public
