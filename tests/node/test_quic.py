"""Whole nodes whose only transport is QUIC: they pair, and a swarm that is killed comes back unnoticed."""

import os
import signal
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.nodes import free_port, pair, running_node


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
