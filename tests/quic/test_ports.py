"""Which ports a swarm with both transports gets: one for TCP and UDP, and the same after a restart."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.to_swarm import Listening
from spacedrive_node.tests.harness.nodes import free_port
from spacedrive_node.tests.harness.swarm_actors import open_swarm


def both(port: int, **more: bool) -> SwarmConfig:
    return SwarmConfig(listen=(f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/udp/{port}/quic-v1"), **more)


def ports(addresses: tuple[str, ...]) -> list[int]:
    return [int(address.split("/")[4]) for address in addresses]


@contextmanager
def held(kind: socket.SocketKind, port: int) -> Iterator[None]:
    """Let another program have a port."""
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", port))
        if kind is socket.SOCK_STREAM:
            other.listen()
        yield


async def test_both_have_the_port_that_was_configured() -> None:
    """And keep it when the swarm is started again."""
    port = free_port()
    async with open_swarm("a", both(port)) as a:
        assert ports(a.addresses) == [port, port]


async def test_where_any_port_will_do_both_get_the_same() -> None:
    """After a restart both get the former ones, though any would do."""
    async with open_swarm("a", both(0)) as a:
        first = a.addresses
        assert len(set(ports(first))) == 1
    standing = (("swarm", Listening(first)),)
    async with open_swarm("a", both(0), standing=standing, incarnation=2) as a:
        assert a.addresses == first


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_the_default_port_is_left_by_both(kind: socket.SocketKind) -> None:
    """If another program has it for TCP, or for UDP alone; and it is said."""
    port = free_port()
    with held(kind, port):
        async with open_swarm("a", both(port, default_port=True)) as a:
            assert len(set(ports(a.addresses))) == 1
            assert port not in ports(a.addresses)
            assert {log.level for log in a.logs} == {"warning"}


async def test_a_port_that_was_asked_for_and_is_taken_for_udp_alone() -> None:
    """It is an error that says so."""
    port = free_port()
    with held(socket.SOCK_DGRAM, port):
        async with open_swarm("a", both(port), up=False) as a:
            await a.gone.wait()
            assert a.fatal is not None
            assert f"port {port} is taken" in a.fatal
