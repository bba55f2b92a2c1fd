"""NodeClient.all_devices: each list that differs, none twice, whoever dies; one listing for all readers."""

import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from spacedrive_node.client import all_devices, errors
from spacedrive_node.client.node_client import ControlError, NodeClient, NodeGoneError, open_client
from spacedrive_node.messages import to_vault
from spacedrive_node.messages.control_protocol import DeviceList, Error, WatchDevices
from spacedrive_node.messages.from_supervisor import ActorRestarted
from spacedrive_node.messages.to_gateway import (
    Device,
    DeviceChanged,
    Devices,
    StoredDevicesChanged,
    VaultError,
)
from spacedrive_node.tests.harness.fake_node import device
from spacedrive_node.tests.harness.gateway_actor import GatewayHost
from spacedrive_node.tests.harness.raw_client import RawClient

ATTIC, KITCHEN, DESK = device(1, "attic"), device(2, "kitchen"), device(3, "desk")


class ListingVault:
    """Answers ListDevices with `devices`, two in a page, or with `refusal`; counts the lists begun."""

    def __init__(self, node: GatewayHost) -> None:
        self.node = node
        self.devices: list[Device] = []
        self.refusal: str | None = None
        self.lists = 0
        self._asked = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        while True:
            (sent,) = await self.node.next_step("ListDevices")
            asked = to_vault.decode(sent.body)
            assert isinstance(asked, to_vault.ListDevices)
            self.lists += not asked.after
            self._asked.unpark_all()
            if self.refusal is not None:
                await self.node.deliver("vault", VaultError(asked.request, "not_stored", self.refusal))
                continue
            rest = [one for one in self.devices if one.device_id > asked.after]
            await self.node.deliver("vault", Devices(asked.request, tuple(rest[:2]), len(rest) > 2))

    async def wait_for_lists(self, count: int) -> None:
        while self.lists < count:
            await self._asked.park()

    async def change(self, *devices: Device) -> None:
        """Have other devices, and say so."""
        self.devices = list(devices)
        await self.node.deliver("vault", StoredDevicesChanged())


@pytest.fixture
async def vault(node: GatewayHost, nursery: trio.Nursery) -> ListingVault:
    vault = ListingVault(node)
    nursery.start_soon(vault.run)
    return vault


async def settled(client: NodeClient) -> None:
    """Wait until whatever is under way has been handled."""
    await client.status()
    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_each_list_that_differs_is_yielded(vault: ListingVault, client: NodeClient) -> None:
    """The complete list at once, of several pages; what has not changed is not repeated."""
    with trio.fail_after(20):
        vault.devices = [ATTIC, KITCHEN, DESK]
        lists = client.all_devices()
        assert await anext(lists) == [ATTIC, KITCHEN, DESK]
        await vault.change(ATTIC, KITCHEN, DESK)
        await settled(client)
        await vault.change(ATTIC, DESK)
        assert await anext(lists) == [ATTIC, DESK]
        await vault.change()
        assert await anext(lists) == []


async def test_a_slow_reader_skips_and_costs_no_list(vault: ListingVault, client: NodeClient) -> None:
    """Only who waits has the devices listed; then the newest list comes, and none of those in between."""
    with trio.fail_after(20):
        lists = client.all_devices()
        assert await anext(lists) == []
        before = vault.lists
        for _ in range(20):
            await vault.change(ATTIC)
        await vault.change(KITCHEN)
        await settled(client)
        assert vault.lists == before
        assert await anext(lists) == [KITCHEN]
        assert vault.lists == before + 1


async def test_iterators_share_one_watch_and_one_listing(
    vault: ListingVault, client: NodeClient, nursery: trio.Nursery
) -> None:
    """Three wait, one list is made; a fourth that comes later begins with what is there."""
    seen: list[list[list[Device]]] = [[], [], []]

    async def follow(number: int, lists: AsyncIterator[list[Device]]) -> None:
        async for found in lists:
            seen[number].append(found)

    with trio.fail_after(20):
        for number in range(3):
            nursery.start_soon(follow, number, client.all_devices())
        while not all(seen):
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert vault.lists == 1
        await vault.change(ATTIC)
        while not all(len(one) == 2 for one in seen):
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert vault.lists == 2
        assert await anext(client.all_devices()) == [ATTIC]
        assert vault.lists == 2
    assert seen == [[[], [ATTIC]]] * 3


async def test_two_tasks_at_one_iterator_get_no_list_twice(
    vault: ListingVault, client: NodeClient, nursery: trio.Nursery
) -> None:
    """Each of its lists goes to one of them, as sync.py has threads do it."""
    lists, seen = client.all_devices(), []

    async def follow() -> None:
        while True:
            seen.append(await anext(lists))

    with trio.fail_after(20):
        nursery.start_soon(follow)
        nursery.start_soon(follow)
        for devices in ([ATTIC], [ATTIC, DESK]):
            await vault.change(*devices)
            while not seen or seen[-1] != devices:
                await trio.testing.wait_all_tasks_blocked(0.01)
    assert [one for one in seen if one] == [[ATTIC], [ATTIC, DESK]]
    assert seen.count([]) <= 1


async def test_a_reader_that_gives_up_takes_nothing_from_the_others(
    node: GatewayHost, client: NodeClient, nursery: trio.Nursery
) -> None:
    """Cancelled while the vault is asked: the same list reaches who waits on, and itself at its next turn."""
    with trio.fail_after(20):
        impatient, patient = client.all_devices(), client.all_devices()
        found: list[list[Device]] = []

        async def wait() -> None:
            found.append(await anext(patient))

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(anext, impatient)
                nursery.start_soon(wait)
                (sent,) = await node.next_step("ListDevices")
                scope.cancel()
        asked = to_vault.decode(sent.body)
        assert isinstance(asked, to_vault.ListDevices)
        await node.deliver("vault", Devices(asked.request, (ATTIC,), False))
        assert await anext(impatient) == [ATTIC]
        while not found:
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert found == [[ATTIC]]


async def test_a_change_while_the_list_is_read_is_not_lost(node: GatewayHost, client: NodeClient) -> None:
    """The list that was under way may be without it, so another follows."""
    with trio.fail_after(20):
        lists = client.all_devices()
        async with trio.open_nursery() as inner:
            inner.start_soon(anext, lists)
            (sent,) = await node.next_step("ListDevices")
            await node.deliver("vault", StoredDevicesChanged())
            asked = to_vault.decode(sent.body)
            assert isinstance(asked, to_vault.ListDevices)
            await node.deliver("vault", Devices(asked.request, (ATTIC,), False))
        async with trio.open_nursery() as inner:

            async def again() -> None:
                assert await anext(lists) == [DESK]

            inner.start_soon(again)
            (sent,) = await node.next_step("ListDevices")
            asked = to_vault.decode(sent.body)
            assert isinstance(asked, to_vault.ListDevices)
            await node.deliver("vault", Devices(asked.request, (DESK,), False))


async def test_restarts_of_gateway_and_vault_are_not_noticed(
    vault: ListingVault, node: GatewayHost, client: NodeClient, nursery: trio.Nursery
) -> None:
    """What changed while there was no gateway comes, also without any word of it; nothing comes twice."""
    seen: list[list[Device]] = []

    async def follow() -> None:
        async for found in client.all_devices():
            seen.append(found)

    async def until(count: int) -> None:
        while len(seen) < count:
            await trio.testing.wait_all_tasks_blocked(0.01)

    with trio.fail_after(30):
        nursery.start_soon(follow)
        await until(1)
        for number, devices in enumerate(([ATTIC], [ATTIC, DESK], [DESK])):
            await node.kill()
            vault.devices = list(devices)
            await node.run_gateway(nursery)
            await until(number + 2)
            await node.kill()
            await node.run_gateway(nursery)
            await settled(client)
        vault.devices = [KITCHEN]
        await node.deliver("supervisor", ActorRestarted("vault"))
        await until(5)
    assert seen == [[], [ATTIC], [ATTIC, DESK], [DESK], [KITCHEN]]


async def test_a_vault_that_cannot_be_read_is_waited_for(
    vault: ListingVault, client: NodeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends no iterator: it lists again after a while, although nothing says so."""
    monkeypatch.setattr(all_devices, "_RETRY_S", 0.01)
    with trio.fail_after(20):
        vault.refusal = "the store cannot be read"
        lists = client.all_devices()
        found = []

        async def follow() -> None:
            found.append(await anext(lists))

        async with trio.open_nursery() as inner:
            inner.start_soon(follow)
            await vault.wait_for_lists(3)
            vault.refusal, vault.devices = None, [ATTIC]
    assert found == [[ATTIC]]


async def test_an_own_change_is_in_the_next_list(
    vault: ListingVault, node: GatewayHost, client: NodeClient, nursery: trio.Nursery
) -> None:
    """A program that has renamed a device and begins to follow is not shown the former name."""
    with trio.fail_after(20):
        vault.devices = [ATTIC]
        assert await anext(client.all_devices()) == [ATTIC]
        async with trio.open_nursery() as inner:
            inner.start_soon(client.rename, ATTIC.device_id, "kitchen")
            (sent,) = await node.next_step("RenameDevice")
            vault.devices = [device(1, "kitchen")]
            await node.deliver("vault", DeviceChanged(to_vault.decode(sent.body).request))  # type: ignore[union-attr]
        assert [one.name for one in await anext(client.all_devices())] == ["kitchen"]


async def test_no_node_for_too_long(
    vault: ListingVault, node: GatewayHost, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NodeGoneError for who waits and for who asks later; a node that is back is followed anew."""
    monkeypatch.setattr(errors, "RECONNECT_TIMEOUT_S", 0.2)
    with trio.fail_after(20):
        async with open_client(node.control) as client:
            lists = client.all_devices()
            assert await anext(lists) == []
            path = node.control.rename(node.control.with_suffix(".away"))  # nobody can connect meanwhile
            await node.kill()
            with pytest.raises(NodeGoneError):
                await anext(lists)
            with pytest.raises(NodeGoneError):
                await anext(client.all_devices())
            path.rename(node.control)
            vault.devices = [ATTIC]
            await node.run_gateway(nursery)
            found: list[Device] = []
            while not found:  # until the client has tried again
                with suppress(NodeGoneError):
                    found = await anext(client.all_devices())
                await trio.lowlevel.checkpoint()
            assert found == [ATTIC]


async def test_a_closed_client_lets_nobody_wait(vault: ListingVault, node: GatewayHost) -> None:
    """What waits in another task fails at once when the block ends."""
    failures: list[NodeGoneError] = []
    with trio.fail_after(20):
        async with trio.open_nursery() as inner, open_client(node.control) as client:
            lists = client.all_devices()
            await anext(lists)

            async def follow() -> None:
                try:
                    await anext(lists)
                except NodeGoneError as error:
                    failures.append(error)

            inner.start_soon(follow)
            await client.status()
    assert len(failures) == 1


async def test_a_node_that_is_too_old(short_folder: Path) -> None:
    """It ends the connection that asks to watch. The reader is told so, once; other requests go on."""
    connections: list[trio.SocketStream] = []

    async def serve(stream: trio.SocketStream) -> None:
        connections.append(stream)
        raw = RawClient(stream)
        while (request := await raw.receive_request()) is not None:
            if isinstance(request, WatchDevices):
                await raw.send(Error(request.id, "bad_request", "not a request"))
                return
            await raw.send(DeviceList(request.id, (ATTIC,), False))

    with trio.fail_after(20), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_folder / "old.sock"))
        listener.listen()
        async with trio.open_nursery() as nursery:
            listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            nursery.start_soon(trio.serve_listeners, serve, [listening])
            async with open_client(short_folder / "old.sock") as client:
                for _ in range(2):
                    with pytest.raises(ControlError, match="older than its client"):
                        await anext(client.all_devices())
                assert await client.devices() == [ATTIC]
            nursery.cancel_scope.cancel()
    assert len(connections) == 3
