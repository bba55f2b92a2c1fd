"""Two devices on a network of their own, and what may be left of them in the end: nothing but their data."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from spacedrive_node.tests.harness.faults.cable_network import Network
from spacedrive_node.tests.harness.faults.device_under_test import Seat

DATA = {"devices.db", "identity.key", "lock"}
SHORT = {"proof": 20.0, "deciding": 25.0, "delivery": 30.0}
"""Deadlines of sessions, in seconds, where all of them are to pass."""
SHORT_CODE = 30.0
"""Seconds that a code lives, and that it is looked for, there."""
_QUIET = 60.0
_GONE = 5.0
_POLL = 0.05
_DESCRIPTORS_MORE = 8
"""That an actor may have more than at first: connections that are about to close."""


@dataclass
class Pair:
    """Two devices; the second has the first as its DHT server. `short`: their sessions soon give up."""

    seats: tuple[Seat, Seat]
    short: bool
    changed: trio.lowlevel.ParkingLot

    async def descriptors(self) -> list[dict[str, int]]:
        """Wait until no session is left; return how many descriptors each actor has."""
        with trio.fail_after(_QUIET):
            while True:
                actors = [await seat.client.actors() for seat in self.seats]
                if not any(row.actor.startswith("session") for rows in actors for row in rows):
                    break
                await trio.sleep(_POLL)  # the control socket tells of sessions, not of their processes
        return [
            {row.actor: _descriptors(row.pid) for row in rows if row.actor not in ("zygote", "spare")}
            for rows in actors
        ]


@asynccontextmanager
async def pair_of_seats(
    folder: Path, network: Network, nursery: trio.Nursery, left: list[str], *, short: bool
) -> AsyncIterator[Pair]:
    """Run two nodes in `folder`, and note in `left` what they leave behind."""
    for name in ("run", "tmp"):
        (folder / name).mkdir(mode=0o700, parents=True)
    session, lifetime = (SHORT, SHORT_CODE) if short else ({}, 300.0)
    changed = trio.lowlevel.ParkingLot()
    seats = [
        Seat(name, folder, await network.host(), nursery, changed, session=session, lifetime=lifetime)
        for name in ("anna", "bruno")
    ]
    pair = Pair((seats[0], seats[1]), short, changed)
    try:
        await seats[0].start()
        seats[1].bootstrap = (seats[0].as_bootstrap,)
        await seats[1].start()
        warm = await pair.descriptors()
        yield pair
        now = await pair.descriptors()
        for seat, before, after in zip(seats, warm, now, strict=True):
            more = {a: (before[a], n) for a, n in after.items() if n > before[a] + _DESCRIPTORS_MORE}
            if more:
                left.append(f"{seat.name}: descriptors then and now: {more}")
        for seat in seats:
            if status := await seat.end():
                left.append(f"{seat.name} ended with {status}")
        if processes := await _still_there(seats):
            left.append(f"processes: {processes}")
    finally:
        with trio.CancelScope(shield=True):
            for seat in seats:
                await seat.kill()
    left += [f"a file: {file}" for file in files_left(folder)]


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:  # only root may look into an actor
        return 0


async def _still_there(seats: list[Seat]) -> list[int]:
    """Return the processes that do not end; the kernel needs a moment for those that do."""
    left: list[int] = []
    with trio.move_on_after(_GONE):
        while True:
            left = [pid for seat in seats for pid in seat.left()]
            if not left:
                break
            await trio.sleep(_POLL)
    return left


def files_left(folder: Path) -> list[str]:
    """Return the files beside the data of the two."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    own = {(name, file) for name in ("anna", "bruno") for file in DATA}
    return sorted(str(file) for file in files if file.parts not in own)
