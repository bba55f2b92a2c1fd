"""Who is behind a reverse proxy, and how many may come at once. Pure."""

import ipaddress

import pytest
import trio
import trio.testing

from spacedrive_node.actors.swarm.websocket import upgrade_limits
from spacedrive_node.actors.swarm.websocket.forwarded import client_address
from spacedrive_node.actors.swarm.websocket.upgrade_limits import UpgradeLimits
from spacedrive_node.actors.swarm.websocket.wire import WebSocketError, WebSocketOptions

PROXIES = WebSocketOptions(
    proxies=tuple(ipaddress.ip_network(text) for text in ("127.0.0.1", "10.0.0.0/8", "fd00::/8"))
)


def client(peer: str, *values: str) -> str:
    return str(client_address(ipaddress.ip_address(peer), [value.encode() for value in values], PROXIES))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "127.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
        (["198.51.100.9", "192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.1.2.3, fd00::1"], "192.0.2.1"),
        (["nonsense, 192.0.2.1"], "192.0.2.1"),
        (["10.1.2.3"], "10.1.2.3"),
        ([" , "], "127.0.0.1"),
        (["198.51.100.9, " * 500 + "192.0.2.1"], "192.0.2.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_is_the_client(values: list[str], expected: str) -> None:
    """What stands before it was written by the client itself."""
    assert client("127.0.0.1", *values) == expected


def test_nobody_else_is_believed() -> None:
    """A client that is no proxy is where it is."""
    assert client("192.0.2.7", "198.51.100.9") == "192.0.2.7"
    own = client_address(ipaddress.ip_address("127.0.0.1"), [b"192.0.2.1"], WebSocketOptions())
    assert str(own) == "127.0.0.1"


@pytest.mark.parametrize("value", ["unknown", "192.0.2.1, _hidden", "192.0.2.1.5", "[::1", "\xff"])
def test_a_proxy_that_names_no_address_is_an_error(value: str) -> None:
    """Its client would otherwise count as the proxy itself."""
    with pytest.raises(WebSocketError):
        client_address(ipaddress.ip_address("127.0.0.1"), [value.encode("latin-1")], PROXIES)


async def test_upgrades_are_bounded_in_all_and_for_each_block() -> None:
    """Who has most makes room, oldest first; a proxy has no share of its own; everything is given back."""
    limits, ended = UpgradeLimits(), []

    async def upgrade(block: str | None, number: int, task_status: trio.TaskStatus[None]) -> None:
        with limits.one(block):
            task_status.started()
            await trio.sleep_forever()
        ended.append((block, number))

    async with trio.open_nursery() as nursery:

        async def begin(block: str | None, number: int) -> None:
            await nursery.start(lambda task_status: upgrade(block, number, task_status))

        for number in range(upgrade_limits.MAX_UPGRADES_PER_BLOCK + 1):
            await begin("a", number)
        assert len(limits) == upgrade_limits.MAX_UPGRADES_PER_BLOCK
        for number in range(upgrade_limits.MAX_UPGRADES - upgrade_limits.MAX_UPGRADES_PER_BLOCK):
            await begin(None, number)
        await begin("b", 0)
        await begin("b", 1)
        assert len(limits) == upgrade_limits.MAX_UPGRADES
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [("a", 0), (None, 0), (None, 1)]
        nursery.cancel_scope.cancel()
    assert len(limits) == 0
