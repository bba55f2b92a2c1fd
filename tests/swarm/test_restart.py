"""Start, restart and listening: the same ports again, clear words when a port is taken."""

import re
import socket
from typing import Any

import pytest

from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import PairingDecision
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_gateway import Readiness, SwarmStatus
from spacedrive_node.messages.to_session import PeerAnswer
from spacedrive_node.messages.to_swarm import Ask, KnownPeer, Listening
from spacedrive_node.messages.to_vault import SettleRequest

B = "session-" + "b" * 16


async def test_a_restart_takes_the_same_identity_and_port(swarm: Any) -> None:
    """Listening, given back to the next incarnation, brings the same addresses; peers find it again."""
    async with swarm("b") as b:
        async with swarm("a") as a:
            listening = await a.expect(Listening, "swarm")
            peer, addresses = a.peer, a.addresses
            frame = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
            await b.deliver(B, Ask(1, peer, addresses, frame))
            await b.expect(PeerAnswer)
        # The vault's KnownPeer comes after the identity here: it must count all the same.
        standing = (("swarm", listening),)
        async with swarm("a", standing=standing, incarnation=2) as again:
            assert (again.peer, again.addresses) == (peer, addresses)
            await b.deliver(B, Ask(2, peer, addresses, frame))
            await b.expect(PeerAnswer, where=lambda m: m.request == 2)


async def test_standing_messages_count_from_the_first_frame_on(swarm: Any) -> None:
    """After a restart a known peer's decision goes to the vault even if the peer was told of late."""
    async with swarm("b") as b, swarm("a", up=False, incarnation=2) as a:
        await a.deliver("vault", KnownPeer(b.peer))
        a.up = await a.expect(SwarmUp)
        frame = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
        await b.deliver(B, Ask(1, a.peer, a.addresses, frame))
        assert (await a.expect(SettleRequest)).frame == frame


def held_port() -> tuple[socket.socket, int]:
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    return held, held.getsockname()[1]


async def test_a_taken_port_is_told(swarm: Any) -> None:
    """A port that the user chose and that is taken ends the actor with a text that says what to do."""
    held, port = held_port()
    with held:
        config = SwarmConfig(listen=(f"/ip4/127.0.0.1/tcp/{port}",))
        async with swarm("a", config, up=False) as a:
            await a.gone.wait()
            assert re.fullmatch(rf"port {port} is taken: .*; choose another with --listen", a.fatal)


async def test_the_default_port_gives_way(swarm: Any) -> None:
    """The default port is only a wish: another is taken, and the log says so."""
    held, port = held_port()
    with held:
        config = SwarmConfig(listen=(f"/ip4/127.0.0.1/tcp/{port}",), default_port=True)
        async with swarm("a", config) as a:
            assert not a.addresses[0].endswith(f"/{port}")
            assert [log.level for log in a.logs] == ["warning"]


@pytest.mark.parametrize(
    "listen",
    [
        "/ip4/127.0.0.1/udp/0/quic-v1/webtransport",
        "/dns4/localhost/tcp/0",
        "/ip4/300.0.0.1/tcp/1",
        "/ip4/192.0.2.254/tcp/0",
    ],
)
async def test_an_impossible_listen_address_is_told(swarm: Any, listen: str) -> None:
    """What this node cannot listen on is refused by name."""
    async with swarm("a", SwarmConfig(listen=(listen,)), up=False) as a:
        await a.gone.wait()
        assert a.fatal.startswith("cannot listen on ")


async def test_readiness_and_status(swarm: Any) -> None:
    """It says nothing of itself until it listens; then ready, with the addresses that others are told."""
    async with swarm("a") as a:
        assert (await a.expect(Readiness, "gateway")) == Readiness("swarm", True)
        assert [
            ready.ready for to, ready, _ in a.sent if to == "metrics" and isinstance(ready, Readiness)
        ] == [True]
        status = await a.expect(SwarmStatus)
        assert (status.peer, status.addresses, status.dht_mode) == (a.peer, a.addresses, "server")
        assert a.up.local_addresses == a.addresses


async def test_every_interface_is_announced_and_loopback_apart(swarm: Any) -> None:
    """Listening on 0.0.0.0 never announces 0.0.0.0; loopback is for this host alone. --announce replaces."""
    async with swarm("a", SwarmConfig(listen=("/ip4/0.0.0.0/tcp/0",))) as a:
        assert all("/0.0.0.0/" not in address for address in a.addresses)
        assert [address.split("/")[2] for address in a.up.local_addresses] == ["127.0.0.1"]
    config = SwarmConfig(listen=("/ip4/0.0.0.0/tcp/0",), announce=("/dns4/node.example/tcp/7520",))
    async with swarm("a", config) as a:
        assert a.addresses == ("/dns4/node.example/tcp/7520",)
