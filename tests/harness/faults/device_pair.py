"""Two devices under test on one network. At the end nothing may be left of them but their data."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from spacedrive_node.tests.harness.faults.cable_network import CableNetwork
from spacedrive_node.tests.harness.faults.device_under_test import DeviceUnderTest
from spacedrive_node.tests.harness.faults.relays import RelayedTransport

DATA = {"devices.db", "identity.key", "lock", "peers.db"}
SHORT_DEADLINES = {"proof": 20.0, "deciding": 25.0, "delivery": 30.0}
"""Deadlines of sessions, in seconds, for cases in which they all expire."""
SHORT_CODE_LIFETIME_S = 30.0
"""Lifetime of a code and of the search for it in those cases, in seconds."""
_QUIET = 60.0
_GONE = 5.0
_POLL = 0.05
_DESCRIPTORS_MORE = 4
"""Descriptors that an actor may have more than at first, for connections that are about to close."""


@dataclass
class DevicePair:
    """Two devices. The second has the first as its DHT server. `short`: they use SHORT_DEADLINES."""

    devices: tuple[DeviceUnderTest, DeviceUnderTest]
    short: bool
    changed: trio.lowlevel.ParkingLot

    async def descriptors(self) -> list[dict[str, int]]:
        """Wait until no session is left. Return the number of descriptors of each actor."""
        with trio.fail_after(_QUIET):
            while True:
                actors = [await device.client.actors() for device in self.devices]
                if not any(row.actor.startswith("session") for rows in actors for row in rows):
                    break
                await trio.sleep(_POLL)  # the control socket reports sessions, not their processes
        return [
            {row.actor: _descriptors(row.pid) for row in rows if row.actor not in ("zygote", "spare")}
            for rows in actors
        ]


@asynccontextmanager
async def open_device_pair(
    folder: Path,
    network: CableNetwork,
    nursery: trio.Nursery,
    left: list[str],
    *,
    short: bool,
    transport: RelayedTransport = "tcp",
) -> AsyncIterator[DevicePair]:
    """Run two nodes in `folder`, and append to `left` what they leave behind."""
    for name in ("run", "tmp"):
        (folder / name).mkdir(mode=0o700, parents=True)
    session, lifetime = (SHORT_DEADLINES, SHORT_CODE_LIFETIME_S) if short else ({}, 300.0)
    changed = trio.lowlevel.ParkingLot()
    devices = [
        DeviceUnderTest(
            name,
            folder,
            await network.host(transport=transport),
            nursery,
            changed,
            session=session,
            lifetime=lifetime,
        )
        for name in ("anna", "bruno")
    ]
    pair = DevicePair((devices[0], devices[1]), short, changed)
    try:
        await devices[0].start()
        devices[1].bootstrap = (devices[0].as_bootstrap,)
        await devices[1].start()
        warm = await pair.descriptors()
        yield pair
        left += await _descriptors_left(pair, warm)
        for device in devices:
            if status := await device.end():
                left.append(f"{device.name} ended with {status}")
        if processes := await _still_there(devices):
            left.append(f"processes: {processes}")
    finally:
        with trio.CancelScope(shield=True):
            for device in devices:
                await device.kill()
    left += [f"a file: {file}" for file in files_left(folder)]


async def _descriptors_left(pair: DevicePair, warm: list[dict[str, int]]) -> list[str]:
    """Return which actors have more descriptors than before, when their connections have had time to end.

    Over WebRTC each that a node has dialled has one, also to a peer that was killed, until that is noticed.
    """
    deadline = trio.current_time() + _QUIET
    while True:
        left = []
        for device, before, after in zip(pair.devices, warm, await pair.descriptors(), strict=True):
            more = {a: (before[a], n) for a, n in after.items() if n > before[a] + _DESCRIPTORS_MORE}
            if more:
                left.append(f"{device.name}: descriptors then and now: {more}")
        if not left or trio.current_time() > deadline:
            return left
        await trio.sleep(_POLL)


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:  # only root may look into an actor
        return 0


async def _still_there(devices: list[DeviceUnderTest]) -> list[int]:
    """Return the processes that have not ended after a moment."""
    left: list[int] = []
    with trio.move_on_after(_GONE):
        while True:
            left = [pid for device in devices for pid in device.left()]
            if not left:
                break
            await trio.sleep(_POLL)
    return left


def files_left(folder: Path) -> list[str]:
    """Return the files that are not part of the data of the two devices."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    own = {(name, file) for name in ("anna", "bruno") for file in DATA}
    return sorted(str(file) for file in files if file.parts not in own)
