"""The dialler with real hosts: a peer is found behind dead addresses and names, or where it was before."""

import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from spacedrive_node.actors.swarm.dial import dialer, interfaces, plan
from spacedrive_node.actors.swarm.dial.dialer import Dialer, UnreachableError
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.tests.harness.library_hosts import our_host, running, silent_address

DEADLINE = 60
CALLERS = 5


@asynccontextmanager
async def dialling() -> AsyncIterator[tuple[Dialer, bytes, str, Any]]:
    """A dialler, the peer id and address of another host, and that host."""
    client, server = our_host(1), our_host(2)
    async with running(server, client) as (address, _own), trio.open_nursery() as nursery:
        with trio.fail_after(DEADLINE):
            yield (
                Dialer(client.get_network(), client.get_id().to_bytes(), nursery),
                server.get_id().to_bytes(),
                str(address),
                server,
            )
        nursery.cancel_scope.cancel()


async def test_behind_dead_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses and one that is silent cost a stagger at most, and are closed afterwards."""
    monkeypatch.setattr(plan, "DIAL_TIMEOUT_S", 2 * DEADLINE)
    async with dialling() as (one, peer, address, _server):
        with silent_address() as silent:
            began = trio.current_time()
            await one.connect(peer, ["/ip4/127.0.0.1/tcp/1", silent, address])
            assert trio.current_time() - began >= plan.STAGGER_S


async def test_dials_that_reach_a_peer_all_at_once_leave_one_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was away, and each caller waited for the dial before his only a while. All are given the same."""
    monkeypatch.setattr(dialer, "_OTHER_RACE_TIMEOUT_S", 0.0)
    async with dialling() as (one, peer, address, server):
        dial, waiting, is_back = one._network.dial_addr, trio.Semaphore(0), trio.Event()

        async def dial_when_it_is_back(*arguments: Any) -> Any:
            waiting.release()
            await is_back.wait()
            return await dial(*arguments)

        monkeypatch.setattr(one._network, "dial_addr", dial_when_it_is_back)
        found: list[Any] = []

        async def connect() -> None:
            found.append(await one.connect(peer, [address]))

        async with trio.open_nursery() as callers:
            for _ in range(CALLERS):
                callers.start_soon(connect)
                await waiting.acquire()
            is_back.set()
        assert len(found) == CALLERS
        assert len(set(found)) == 1
        assert found == [one.existing(peer)] * CALLERS
        while len(server.get_network().get_connections()) > 1:
            await trio.testing.wait_all_tasks_blocked()


async def test_what_worked_is_tried_first_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same network, in whatever order the addresses come; on another network nothing is known."""
    dialled: list[str] = []
    dial = Dialer._dial_endpoint

    async def noted(self: Any, peer: bytes, target: Any, resolved: Any) -> Any:
        dialled.append(str(resolved.endpoint))
        return await dial(self, peer, target, resolved)

    monkeypatch.setattr(Dialer, "_dial_endpoint", noted)
    monkeypatch.setattr(dialer, "_NETWORK_CHECK_S", 0.0)
    monkeypatch.setattr(plan, "MIN_STAGGER_S", 2 * DEADLINE)  # these hold where the round trip is known
    monkeypatch.setattr(plan, "MAX_STAGGER_S", 2 * DEADLINE)
    async with dialling() as (one, peer, address, _server):
        with silent_address() as silent:
            await one.connect(peer, [silent, address])
            assert dialled == [silent, address]
            for network, expected in ((frozenset({"10.0.0.7"}), [silent, address]), (None, [address])):
                await one.drop_peer(peer)
                dialled.clear()
                with monkeypatch.context() as moved:
                    if network is not None:
                        moved.setattr(interfaces, "network", lambda network=network: network)
                    await one.connect(peer, [silent, address])
                assert dialled == expected


async def test_a_name_with_a_dead_address_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of a name are raced like those of a peer, not one after the other."""
    monkeypatch.setattr(plan, "DIAL_TIMEOUT_S", 2 * DEADLINE)
    async with dialling() as (one, peer, address, _server):
        port = int(address.split("/")[4])

        async def resolve(_host: str, _port: int, **_options: Any) -> list[Any]:
            return [(0, 0, 0, "", (host, port)) for host in ("::1", "127.0.0.3", "127.0.0.1")]

        monkeypatch.setattr(one._resolver, "resolve", resolve)
        with socket.socket() as full, socket.socket() as filling, socket.socket() as more:
            full.bind(("127.0.0.3", port))
            full.listen(0)
            for client in (filling, more):
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            await one.connect(peer, [f"/dns/node.example/tcp/{port}"])


async def test_a_name_without_addresses_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that cannot be resolved."""
    async with dialling() as (one, peer, _address, _server):
        for result in ([], OSError("no such name")):

            async def resolve(_host: str, _port: int, result: Any = result, **_options: Any) -> list[Any]:
                if isinstance(result, OSError):
                    raise result
                return list(result)

            monkeypatch.setattr(one._resolver, "resolve", resolve)
            with pytest.raises(UnreachableError):
                await one.connect(peer, ["/dns/node.example/tcp/1"])


async def test_who_answers_notices_the_check() -> None:
    """A node with the same identity has had the connection when the check closes it."""
    client, twin = our_host(1), our_host(1)
    noticed: list[Any] = []
    twin.get_network().register_notifee(ConnectionEvents(noticed.append, lambda _connection: None))
    async with running(twin, client) as (address, _own), trio.open_nursery() as nursery:
        one = Dialer(client.get_network(), client.get_id().to_bytes(), nursery)
        with trio.fail_after(DEADLINE):
            await one.check_who_answers([dialer.addresses.parse(str(address))])
        assert noticed
        assert not client.get_network().get_connections()
        nursery.cancel_scope.cancel()


async def test_who_answers_is_checked_at_a_fixed_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever named the endpoints does not see at the next one what became of the one before."""
    monkeypatch.setattr(dialer, "HEARSAY_TIMEOUT_S", 0.3)
    dialled: list[float] = []

    async def refused(*_arguments: Any) -> None:
        dialled.append(trio.current_time())

    monkeypatch.setattr(Dialer, "_dial", refused)
    async with dialling() as (one, _peer, address, _server):
        endpoints = [
            dialer.addresses.parse(address).with_ip(ipaddress.ip_address(ip)) for ip in ("::1", "::2")
        ]
        await one.check_who_answers(endpoints)
        assert dialled[1] - dialled[0] >= 0.3


async def test_of_a_look_at_who_answers_no_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the other node with this identity hangs, and never says that it has noticed."""
    monkeypatch.setattr(dialer, "HEARSAY_TIMEOUT_S", 1.0)
    client, twin = our_host(1), our_host(1)
    asked = trio.Event()

    async def hang(_stream: Any) -> None:
        asked.set()
        await trio.sleep_forever()

    twin.get_network().set_stream_handler(hang)
    async with running(twin, client) as (address, _own), trio.open_nursery() as nursery:
        with trio.fail_after(DEADLINE):
            one = Dialer(client.get_network(), client.get_id().to_bytes(), nursery)
            await one.check_who_answers([dialer.addresses.parse(str(address))])
            await asked.wait()
        assert not client.get_network().get_connections()
        nursery.cancel_scope.cancel()
