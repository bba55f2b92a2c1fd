"""Whole nodes whose only transport is QUIC: they pair, and a swarm that is killed comes back unnoticed."""

import os
import re
import signal
from pathlib import Path

import pytest
import trio

from spacedrive_node.actors.swarm.dial.plan import DIAL_TIMEOUT_S
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, free_port, pair, running_node
from spacedrive_node.tests.harness.sample_frames import PEER


def quic_only() -> dict[str, object]:
    return {"listen": (f"/ip4/127.0.0.1/udp/{free_port()}/quic-v1",)}


async def test_two_nodes_pair_over_quic_alone(tmp_path: Path) -> None:
    """Bootstrap, Kademlia and every exchange; and the sandbox of the swarm is complete."""
    async with (
        running_node(tmp_path, "anna", **quic_only()) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), **quic_only()) as b,
    ):
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert result.initiator.transport == result.joiner.transport == "quic"
        for node in (a, b):
            assert [address.split("/")[3] for address in node.ready.addresses] == ["udp"]
            assert [line for line in node.logs if line[1] in ("warning", "error")] == []


@pytest.mark.parametrize("side", ["initiator", "joiner"])
async def test_the_swarm_is_killed_during_a_pairing_over_quic_alone(tmp_path: Path, side: str) -> None:
    """SIGKILL at an exchange, on either side: it comes back on its port, and the pairing completes."""
    async with (
        running_node(tmp_path, "anna", **quic_only()) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), **quic_only()) as b,
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


async def test_both_transports_have_one_port_and_pair(tmp_path: Path) -> None:
    """UDP gets the port that TCP got; both are announced, and both stay over a restart of the swarm."""
    both = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1")
    async with (
        running_node(tmp_path, "anna", listen=both) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), listen=both) as b,
    ):
        ports = [address.split("/")[4] for address in a.ready.addresses]
        assert [address.split("/")[3] for address in a.ready.addresses] == ["tcp", "udp"]
        assert len(set(ports)) == 1
        os.kill((await a.pids())["swarm"], signal.SIGKILL)
        await a.spawner.wait_until_delivered("swarm", "Listening", 1)
        await pair(a, b)
        assert tuple((await a.client.status()).addresses) == a.ready.addresses


async def test_a_closed_port_is_noticed_from_inside_the_sandbox(tmp_path: Path) -> None:
    """The swarm reads what ICMP says: a dial to a port where nobody listens fails long before its time."""
    words = "-".join(["abandon"] * 11 + ["about"])
    hint = f"/ip4/127.0.0.1/udp/{free_port()}/quic-v1"
    metrics = {"metrics_listen": "127.0.0.1:0"}
    async with running_node(tmp_path, "anna", **quic_only(), **metrics) as node:
        peer = peer_id_text(PEER)
        joining = await node.client.join_pairing(
            f"spacedrive:pair?v=2&w={words}&p={peer}&a={hint}", timeout=60
        )
        failed: dict[str, float] = {}
        with trio.fail_after(DEADLINE):
            while not failed.get("count"):
                failed = await failed_dials(node)
        assert failed["sum"] < failed["count"] * DIAL_TIMEOUT_S / 2
        await joining.cancel()


async def failed_dials(node: Node) -> dict[str, float]:
    """How many dials over QUIC have failed (`count`), and in how many seconds (`sum`), as /metrics says."""
    assert node.ready.metrics is not None
    host, _, port = node.ready.metrics.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join([piece async for piece in stream]).decode()
    lines = re.findall(r'handshake_seconds_(count|sum)\{outcome="failed",transport="quic"\} (\S+)', text)
    return {name: float(value) for name, value in lines}
