"""Behind a reverse proxy: whose address counts, for the gate and for everything above the transport."""

import ipaddress

import pytest
import trio

from spacedrive_node.actors.swarm.websocket import upgrade_limits
from spacedrive_node.actors.swarm.websocket.http_upgrade import BAD_REQUEST
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.tests.harness.websocket_hosts import DEADLINE, receive_all, request, served

PROXY = WebSocketOptions(proxies=(ipaddress.ip_network("127.0.0.0/8"),))


class Refusing:
    """A gate that refuses one address."""

    def __init__(self, refused: str) -> None:
        self.refused = refused
        self.asked: list[str] = []

    def allows(self, host: str) -> bool:
        self.asked.append(host)
        return host != self.refused

    def is_slow(self, address_block: str | None) -> bool:
        return False


async def test_a_connection_has_the_address_of_its_client() -> None:
    """That every limit and ban above the transport counts; its port is unknown."""
    async with served(PROXY) as listening:
        await listening.upgraded("X-Forwarded-For: 203.0.113.9, 192.0.2.1")
        connection = await listening.accepted()
        assert connection.get_remote_address() == ("192.0.2.1", 0)
        assert connection.get_remote_address().multiaddr() is None


async def test_without_a_configured_proxy_the_header_means_nothing() -> None:
    """Anybody could write it."""
    async with served() as listening:
        client = await listening.upgraded("X-Forwarded-For: 192.0.2.1")
        host, port = client.socket.getsockname()
        connection = await listening.accepted()
        assert connection.get_remote_address() == (host, port)
        assert str(connection.get_remote_address().multiaddr()) == f"/ip4/{host}/tcp/{port}/ws"


async def test_the_gate_is_asked_about_the_client() -> None:
    """--lan-only, and whatever else it decides; never about the proxy."""
    gate = Refusing("192.0.2.1")
    async with served(PROXY) as listening:
        listening.transport.admit(gate, lambda _transport, _seconds, _ok: None)
        refused = await listening.open(request("/", "X-Forwarded-For: 192.0.2.1"))
        assert await receive_all(refused) == b""
        await listening.upgraded("X-Forwarded-For: 192.0.2.2")
        await listening.accepted()
        assert gate.asked == ["192.0.2.1", "192.0.2.2"]


async def test_the_gate_is_asked_before_anything_is_read() -> None:
    """Of a client that comes directly."""
    async with served() as listening:
        listening.transport.admit(Refusing("127.0.0.1"), lambda _transport, _seconds, _ok: None)
        assert await receive_all(await listening.open()) == b""
        assert len(listening.transport.upgrades) == 0


async def test_a_proxy_that_names_no_address_is_refused() -> None:
    """Rather than counted as all its clients."""
    async with served(PROXY) as listening:
        assert (
            await receive_all(await listening.open(request("/", "X-Forwarded-For: unknown"))) == BAD_REQUEST
        )


async def test_a_proxy_may_have_more_open_than_one_block() -> None:
    """Its clients come from many; in all there is a bound."""
    async with served(PROXY) as listening:
        waiting = [await listening.open() for _ in range(upgrade_limits.MAX_UPGRADES_PER_BLOCK + 8)]
        with trio.fail_after(DEADLINE):
            while len(listening.transport.upgrades) < len(waiting):  # noqa: ASYNC110
                await trio.sleep(0.01)
        await listening.upgraded("X-Forwarded-For: 192.0.2.1")


@pytest.mark.parametrize("path", ["/", "/p2p/here"])
async def test_the_configured_path_alone_is_served(path: str) -> None:
    """All else looks the same from outside."""
    async with served(WebSocketOptions(path=path)) as listening:
        client = await listening.open(request("/elsewhere"))
        assert (await receive_all(client)).startswith(b"HTTP/1.1 404 ")
        client = await listening.open(request(path))
        await listening.accepted()
