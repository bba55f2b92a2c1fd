"""Whole nodes whose only transport is WebSocket: they pair, also under TLS and after a kill of the swarm."""

import os
import signal
from pathlib import Path

import pytest

from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.nodes import free_port, pair, running_node
from spacedrive_node.tests.harness.websocket_hosts import make_certificate


def websocket_only(form: str = "ws") -> dict[str, object]:
    return {"listen": (f"/ip4/127.0.0.1/tcp/{free_port()}/{form}",)}


def with_certificate(folder: Path) -> dict[str, object]:
    made = make_certificate(folder, ["127.0.0.1"])
    return {
        **websocket_only("tls/ws"),
        "tls_certificate": made.certificate,
        "tls_key": made.key,
        "tls_ca": made.ca,
    }


@pytest.mark.parametrize("transport", ["ws", "wss"])
async def test_two_nodes_pair_over_websocket_alone(tmp_path: Path, transport: str) -> None:
    """Bootstrap, Kademlia and every exchange; the sandbox is complete, also for the files of TLS."""
    how = websocket_only() if transport == "ws" else with_certificate(tmp_path)
    there = websocket_only() if transport == "ws" else {**how, **websocket_only("tls/ws")}
    async with (
        running_node(tmp_path, "anna", **how) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), **there) as b,
    ):
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert result.initiator.transport == result.joiner.transport == transport
        for node in (a, b):
            assert [address.split("/")[-1] for address in node.ready.addresses] == ["ws"]
            assert [line for line in node.logs if line[1] in ("warning", "error")] == []


@pytest.mark.parametrize("side", ["initiator", "joiner"])
async def test_the_swarm_is_killed_during_a_pairing_over_websocket_alone(tmp_path: Path, side: str) -> None:
    """SIGKILL at an exchange, on either side: it comes back on its port, and the pairing completes."""
    anywhere: dict[str, object] = {"listen": ("/ip4/127.0.0.1/tcp/0/ws",)}
    async with (
        running_node(tmp_path, "anna", **anywhere) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), **anywhere) as b,
    ):
        victim = a if side == "initiator" else b
        pid = (await victim.pids())["swarm"]

        def kill_swarm(kind: str, event: str, number: int, pid: int = pid) -> bool:
            if (kind, event, number) == ("session", "input", 4):
                os.kill(pid, signal.SIGKILL)
            return False

        victim.spawner.reset(kill_swarm)
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert (await victim.pids())["swarm"] != pid
        assert victim.ready.addresses == tuple((await victim.client.status()).addresses)


async def test_every_transport_at_once(tmp_path: Path) -> None:
    """QUIC has the port of TCP, WebSocket one of its own. A node with all three pairs with one with TCP."""
    every = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/ws")
    async with (
        running_node(tmp_path, "anna", listen=every) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), listen=every[:1]) as b,
    ):
        ports = [address.split("/")[4] for address in a.ready.addresses]
        assert ports[0] == ports[1] != ports[2]
        status = await a.client.status()
        assert [parse(text).transport for text in status.listening] == ["tcp", "quic", "ws"]
        assert (status.mdns, status.lan_only, status.offline) == ("off", False, False)
        await pair(a, b)
