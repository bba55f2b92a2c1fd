"""Whole nodes whose only transport is WebRTC: they pair, and a swarm that is killed is back where it was."""

import os
import signal
from pathlib import Path

import pytest

from spacedrive_node.config import extras
from spacedrive_node.config.settings import NodeConfig
from spacedrive_node.tests.harness.nodes import free_port, pair, running_node

needs_packages = pytest.mark.skipif(
    not extras.has_webrtc(), reason="the extra webrtc is not installed: make webrtc"
)


def webrtc_only() -> dict[str, object]:
    return {"listen": (f"/ip4/127.0.0.1/udp/{free_port()}/webrtc-direct",)}


@needs_packages
async def test_two_nodes_pair_over_webrtc_alone(tmp_path: Path) -> None:
    """Bootstrap, Kademlia and every exchange; and the sandbox of the swarm is complete."""
    async with (
        running_node(tmp_path, "anna", **webrtc_only()) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,), **webrtc_only()) as b,
    ):
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert result.initiator.transport == result.joiner.transport == "webrtc"
        for node in (a, b):
            assert ["/certhash/" in address for address in node.ready.addresses] == [True]
            assert [line for line in node.logs if line[1] in ("warning", "error")] == []


@needs_packages
async def test_the_swarm_is_killed_and_its_address_is_the_same(tmp_path: Path) -> None:
    """Port and certificate: who has the old address dials the new swarm. Beside TCP and QUIC of one port."""
    every = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/udp/0/webrtc-direct")
    async with running_node(tmp_path, "anna", listen=every) as a:
        (webrtc,) = [address for address in a.ready.addresses if "webrtc" in address]
        os.kill((await a.pids())["swarm"], signal.SIGKILL)
        await a.spawner.wait_until_delivered("swarm", "Listening", 1)
        assert tuple((await a.client.status()).addresses) == a.ready.addresses
        known = f"{webrtc}/p2p/{a.bootstrap.rpartition('/')[2]}"
        async with running_node(tmp_path, "bruno", bootstrap=(known,), **webrtc_only()) as b:
            result = await pair(a, b)
            assert result.joiner.transport == "webrtc"


@needs_packages
def test_it_shares_no_udp_port() -> None:
    """With QUIC, which would otherwise take it away."""
    both = ("/ip4/127.0.0.1/udp/7/webrtc-direct", "/ip4/127.0.0.1/udp/7/quic-v1")
    ((key, text),) = NodeConfig(listen=both).contradictions()
    assert key == "listen"
    assert "udp port 7" in text


def test_without_the_packages_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every setting that needs them; not where none does."""
    monkeypatch.setattr(extras, "_WEBRTC_MODULES", ("google_crc32c_that_is_not_there",))
    address = "/ip4/192.0.2.1/udp/1/webrtc-direct"
    config = NodeConfig(listen=("/ip4/127.0.0.1/udp/0/webrtc-direct",), announce=(address,))
    found = config.contradictions()
    assert [key for key, _ in found] == ["listen", "announce"]
    assert all("pip install 'spacedrive-node[webrtc]'" in text for _, text in found)
    assert NodeConfig().contradictions() == []
