"""NodeClient.all_devices at real nodes of which parts are killed: nothing is missed, nothing comes twice."""

import os
import signal
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import open_client
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, pair, two_nodes


async def kill(node: Node, *actors: str) -> None:
    """Kill these actors, all of which run."""
    pids = await node.pids()
    while not all(pids.get(actor) for actor in actors):  # 0: between two processes
        pids = await node.pids()
    for actor in actors:
        os.kill(pids[actor], signal.SIGKILL)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("victims", [("gateway",), ("vault",), ("gateway", "vault")])
async def test_kills_are_not_noticed(tmp_path: Path, victims: tuple[str, ...]) -> None:
    """Before each change, which another client makes; the reader is shown each state of the list once."""
    async with two_nodes(tmp_path) as (a, b):
        with trio.fail_after(DEADLINE):
            seen: list[list[tuple[str, str]]] = []
            arrived = trio.lowlevel.ParkingLot()

            async def follow() -> None:
                async for devices in a.client.all_devices():
                    seen.append([(device.name, device.state) for device in devices])
                    arrived.unpark_all()

            async def until(*wanted: tuple[str, str]) -> None:
                while not seen or seen[-1] != [*wanted]:
                    await arrived.park()

            async with trio.open_nursery() as nursery, open_client(Path(a.ready.control)) as other:
                nursery.start_soon(follow)
                await until()
                await kill(a, *victims)
                await pair(a, b)
                await until(("bruno", "paired"))
                (device,) = await other.devices()
                names = ["attic", "kitchen"]
                for name in names:
                    await kill(a, *victims)
                    await other.rename(device.device_id, name)
                    await until((name, "paired"))
                await kill(a, *victims)
                await other.forget(device.device_id)
                await until()
                await kill(a, *victims)
                await pair(b, a)
                await until(("bruno", "paired"))
                nursery.cancel_scope.cancel()
    settled = [one for one in seen if ("bruno", "unconfirmed") not in one]
    expected = [[], "bruno", *names, [], "bruno"]
    assert settled == [[(one, "paired")] if isinstance(one, str) else one for one in expected]
