"""A bound on the connections that this side has dialled: the defect of the library, and its absence."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.host.ping import ID as PING_ID
from libp2p.network.exceptions import SwarmException
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import dialled_limits, host_lifecycle, streams
from spacedrive_node.actors.swarm.library.connections import gave_way, give_way, is_alive
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, make, our_host, running, silent_address

MOST = 4
"""Connections that the dialling host may dial: an eighth of all."""


@dataclass
class Dialling:
    """A host that dials, and others with their addresses, each to be dialled once."""

    host: Any
    others: list[tuple[Any, Any]]

    async def dial(self) -> Any:
        """Dial the next one."""
        other, address = self.others.pop(0)
        with trio.fail_after(60):
            return await self.host.get_network().dial_addr(address, other.get_id())


@asynccontextmanager
async def dialling(
    corrected: bool = True, keeps: Callable[[bytes], bool] = lambda _p: False
) -> AsyncIterator[Dialling]:
    host = make(corrected, 1, most=8 * MOST)
    if corrected:
        dialled_limits.limit_dialled_connections(host.get_network(), keeps, PROTOCOL_ID)
    others = [our_host(number) for number in range(2, 2 + 9 * MOST)]
    async with running(*others) as addresses, host_lifecycle.run_host(host):
        yield Dialling(host, list(zip(others, addresses, strict=True)))


async def use(connection: Any, protocol: str = PROTOCOL) -> None:
    """Open a stream on it, for a protocol that the other side need not speak."""
    with suppress(streams.StreamError):
        async with streams.open_stream(connection, protocol, b"?"):
            pass
    if hasattr(connection, "used_at"):
        await be_idle(connection)


async def be_idle(connection: Any) -> None:
    """Wait until its streams have ended: identify opens one too."""
    with trio.fail_after(60):
        while connection.streams:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_dial_finds_room(corrected: bool) -> None:
    """However many others were dialled before, and have been used since."""
    async with dialling(corrected) as one:
        made = 0
        while one.others:
            try:
                connection = await one.dial()
            except SwarmException:
                break
            made += 1
            await use(connection)
        assert made == (9 * MOST if corrected else 8 * MOST)
        if corrected:
            assert len(one.host.get_network().get_connections()) == MOST


async def test_who_was_used_longest_ago_makes_room() -> None:
    """And says of itself that it was this side's doing."""
    async with dialling() as one:
        made = [await one.dial() for _ in range(MOST)]
        for connection in (made[1], made[0], *made[2:], made[1]):
            await use(connection)
        await use(await one.dial())
        await use(await one.dial())
        assert [is_alive(connection) for connection in made] == [False, True, False, True]
        assert [gave_way(connection) for connection in made] == [True, False, True, False]


async def test_what_is_needed_stays() -> None:
    """The connection of a pairing, one with an open stream, and one that is kept."""
    kept: set[bytes] = set()
    async with dialling(keeps=kept.__contains__) as one, AsyncExitStack() as stack:
        needed = pairing, streaming, relay = [await one.dial() for _ in range(MOST - 1)]
        kept.add(relay.muxed_conn.peer_id.to_bytes())
        await use(pairing, PROTOCOL_ID)
        await use(relay)
        stream = await streaming.new_stream()
        stack.push_async_callback(streams.reset, stream)
        others = []
        for _ in range(2 * MOST):
            others.append(await one.dial())
            await use(others[-1])
        assert all(map(is_alive, needed))
        assert sum(map(is_alive, others)) == 1


async def test_a_stream_of_the_other_side_keeps_no_place() -> None:
    """Servers that leave one open would stay for ever, and some hundred of them would leave no dial."""
    async with dialling() as one, AsyncExitStack() as stack:
        network, peer = one.host.get_network(), one.host.get_id()

        async def dial(holding: bool) -> Any:
            other, _ = one.others[0]
            connection = await one.dial()
            with trio.fail_after(60):
                while other.get_id() not in one.host._identified_peers:
                    await trio.lowlevel.checkpoint()
            await be_idle(connection)
            if holding:
                with trio.fail_after(60):
                    while not (there := other.get_network().get_connections(peer)):
                        await trio.lowlevel.checkpoint()
                await stack.enter_async_context(streams.open_stream(there[0], PING_ID))
                assert connection.streams
            return connection

        held = [await dial(True) for _ in range(MOST - 1)]
        idle = await dial(False)
        held.append(await dial(True))
        assert idle not in network.get_connections()  # before any that the other side uses
        assert set(held) == set(network.get_connections())
        held += [await dial(True) for _ in range(MOST)]
        assert set(held[-MOST:]) == set(network.get_connections())


async def test_dials_that_lead_nowhere_cost_no_connection() -> None:
    """Else whoever names many peers that are not there would have the connections with all others closed."""
    async with dialling() as one, trio.open_nursery() as nursery:
        made = [await one.dial() for _ in range(MOST)]
        for connection in made:
            await be_idle(connection)
        network, (other, _) = one.host.get_network(), one.others[0]
        with silent_address() as silent:
            for _ in range(2 * MOST):
                nursery.start_soon(network.dial_addr, Multiaddr(silent), other.get_id())
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert all(map(is_alive, made))
            nursery.cancel_scope.cancel()


async def test_dials_do_not_wait_for_those_who_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing takes a while, with a frozen peer a second; and dials that begin together count each other."""
    go_on = trio.Event()

    async def give_way_later(connection: Any) -> None:
        await go_on.wait()
        await give_way(connection)

    monkeypatch.setattr(dialled_limits, "give_way", give_way_later)
    async with dialling() as one:
        former = [await one.dial() for _ in range(MOST)]
        for connection in former:
            await be_idle(connection)
        network = one.host.get_network()
        async with trio.open_nursery() as nursery:
            for _ in range(MOST):
                nursery.start_soon(one.dial)
        assert len(network.get_connections()) == MOST
        assert not any(connection in network.get_connections() for connection in former)
        go_on.set()


async def test_a_pairing_that_is_over_is_as_good_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its devices are heard of every few seconds while it lasts."""
    monkeypatch.setattr(dialled_limits, "PAIRING_S", 0.0)
    async with dialling() as one:
        pairing = await one.dial()
        await use(pairing, PROTOCOL_ID)
        for _ in range(MOST):
            await use(await one.dial())
        assert not is_alive(pairing)
