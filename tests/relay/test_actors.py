"""Swarm actors with a relay between them: what they announce and report; what a session hears of the path."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.relay.service import RelayService
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import Challenge, PairingRequest
from spacedrive_node.messages.to_discovery import KadReply, Servers, SwarmUp
from spacedrive_node.messages.to_gateway import SwarmStatus
from spacedrive_node.messages.to_metrics import Observed
from spacedrive_node.messages.to_session import PeerAnswer, PeerRequest, PeerUnreachable
from spacedrive_node.messages.to_swarm import Ask, ClosestServers, KadRequest, PeerReply, Serve
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.code import code_id
from spacedrive_node.tests.harness.stranger_peer import stranger_host
from spacedrive_node.tests.harness.swarm_actors import DEADLINE, FakeSupervisor, local, open_swarm
from spacedrive_node.tests.harness.transports import over_each_transport

ROUTE_KEY = b"r" * 32
KEY = b"\x12\x20" + bytes(32)
A = "session-" + "a" * 16
B = "session-" + "b" * 16


def circuits_of(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in addresses if one.endswith("/p2p-circuit"))


async def metric(swarm: FakeSupervisor, name: str, labels: tuple[str, ...], value: float) -> None:
    """Wait until a metric has a value."""

    def has(observed: Any) -> bool:
        return any((one.name, one.labels, one.value) == (name, labels, value) for one in observed.samples)

    await swarm.expect(Observed, "metrics", has)


@asynccontextmanager
async def relay_and_two() -> AsyncIterator[tuple[FakeSupervisor, FakeSupervisor, FakeSupervisor, SwarmUp]]:
    """A relay, one that is reached through it, and another; and where the first says that it is."""
    serving = msgspec.structs.replace(local(), relay_service=True)
    async with open_swarm("relay", serving) as relay:
        reserving = msgspec.structs.replace(local(), relays=(PeerAddresses(relay.peer, relay.addresses),))
        async with open_swarm("a", reserving) as a, open_swarm("b") as b:
            with trio.fail_after(DEADLINE):
                up = await a.expect(SwarmUp, "discovery", lambda one: circuits_of(one.addresses))
                yield relay, a, b, up


@over_each_transport
async def test_a_frame_reaches_its_session_through_a_relay() -> None:
    """Both sessions hear that the path is relayed; the relay counts what it carries, and names nobody."""
    async with relay_and_two() as (relay, a, b, up):
        status = await a.expect(SwarmStatus, "gateway", lambda one: circuits_of(one.addresses))
        assert status.addresses == up.addresses
        assert up.addresses[0] == a.addresses[0]
        assert not circuits_of(up.listening + up.local_addresses)
        await metric(a, "relay_reservations", ("held",), 1.0)

        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        name = code_id(ROUTE_KEY, a.peer, b.peer)
        frame = encode(PairingRequest(2, name, b"t" * 16, b"e" * 32, b"c" * 32))
        await b.deliver(B, Ask(1, a.peer, circuits_of(up.addresses), frame))
        request = await a.expect(PeerRequest, A)
        assert (request.peer, request.frame, request.path) == (b.peer, frame, "relayed")
        answer = encode(Challenge(name, b"t" * 16, b"e" * 32, b"n" * 32, b"p" * 32))
        await a.deliver(A, PeerReply(request.request, answer))
        assert await b.expect(PeerAnswer, B) == PeerAnswer(1, answer, "relayed", request.transport)
        await metric(b, "connections", ("outbound", request.transport, "relayed"), 1.0)
        await metric(a, "connections", ("inbound", request.transport, "relayed"), 1.0)
        await metric(relay, "relay_reservations", ("granted",), 1.0)
        await metric(relay, "relay_circuits", (), 1.0)


async def test_who_announces_itself_through_a_relay_is_a_provider_like_others() -> None:
    """It comes from no IP address by which what it says of itself could be judged."""
    async with relay_and_two() as (_relay, a, b, up):
        through = circuits_of(up.addresses)
        await b.deliver("discovery", KadRequest(1, a.peer, through, "add_provider", KEY, 10.0))
        assert await b.expect(KadReply, "discovery") == KadReply(1)
        await a.deliver("discovery", ClosestServers(2, KEY))
        found = await a.expect(Servers, "discovery")
        assert [one.peer for one in found.providers] == [b.peer]


async def test_what_leads_through_a_relay_has_a_length_that_messages_take() -> None:
    """A relay may name any address of its own: with the way through it behind, it is longer than may be."""
    name = ".".join("abc"[number] * 60 for number in range(3))
    async with stranger_host() as host:
        await host.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))

        def direct(peer: bytes) -> Any | None:
            return next(iter(host.get_network().get_connections(ID(peer))), None)

        RelayService(host, lambda: (f"/dns4/{name}/tcp/7520",), direct).serve()
        relay = PeerAddresses(host.get_id().to_bytes(), (str(host.get_transport_addrs()[0]),))
        async with open_swarm("a", msgspec.structs.replace(local(), relays=(relay,))) as a:
            with trio.fail_after(DEADLINE):
                up = await a.expect(SwarmUp, "discovery", lambda one: circuits_of(one.addresses))
                status = await a.expect(SwarmStatus, "gateway", lambda one: circuits_of(one.addresses))
        assert up.addresses == status.addresses
        assert [one.partition("/p2p/")[0] for one in circuits_of(up.addresses)] == list(relay.addresses)


async def test_a_node_that_stays_near_takes_and_dials_no_circuit() -> None:
    """It reserves nothing, whatever it was told, and what leads through a relay is no address for it."""
    serving = msgspec.structs.replace(local(), relay_service=True)
    async with open_swarm("relay", serving) as relay:
        relays = (PeerAddresses(relay.peer, relay.addresses),)
        reserving = msgspec.structs.replace(local(), relays=relays)
        near = msgspec.structs.replace(local(), relays=relays, lan_only=True)
        async with open_swarm("a", reserving) as a, open_swarm("b", near) as b:
            with trio.fail_after(DEADLINE):
                up = await a.expect(SwarmUp, "discovery", lambda one: circuits_of(one.addresses))
                await b.deliver(B, Ask(1, a.peer, circuits_of(up.addresses), b"frame"))
                assert (await b.expect(PeerUnreachable, B)).reason == "no address to dial"
                assert not any(
                    circuits_of(one.addresses) for _to, one, _id in b.sent if isinstance(one, SwarmUp)
                )
