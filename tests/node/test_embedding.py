"""A real node inside programs on trio, on asyncio and of threads; killed, cancelled, interrupted."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import trio

from spacedrive_node import (
    Device,
    NodeClient,
    NodeConfig,
    NodeEndedError,
    NodeGoneError,
    PairingFailedError,
    open_client,
    open_node,
    sync,
)
from spacedrive_node.client.tasks import Change
from spacedrive_node.tests.harness.loops import on_each_loop
from spacedrive_node.tests.harness.node_commands import DEADLINE
from spacedrive_node.tests.harness.secret_sweep import collector


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)


def config_of(folder: Path, name: str) -> NodeConfig:
    return NodeConfig(
        data_dir=str(folder / name),
        name=name,
        listen=("/ip4/127.0.0.1/tcp/0",),
        metrics_listen=None,
        mdns=False,
    )


@on_each_loop
async def test_two_nodes_in_one_program_pair(folder: Path) -> None:
    """On each loop; all_states tells of both ends of the pairing and repeats nothing."""
    with anyio.fail_after(DEADLINE):
        async with open_node(config_of(folder, "anna")) as a, open_node(config_of(folder, "bruno")) as b:
            seen: list[Any] = []

            async def follow() -> None:
                async for state in b.all_states():
                    seen.append(state)
                    if state.outcome is not None:
                        return

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                showing = await a.start_pairing()
                words = " ".join(showing.code.words)
                collector.add_code(words)
                joining = await b.join_pairing(words)
                tasks.start_soon(lambda: joining.paired(accept=True))
                paired = await showing.paired(accept=True)
            assert seen[-1].outcome == "paired"
            assert seen[-1].fingerprint == paired.fingerprint
            assert len(seen) == len({(s.stage, s.device, s.accepted, s.outcome) for s in seen})
            (device,) = await a.devices()
            assert device.peer_id == b.peer_id == (await b.status()).peer_id
            assert seen[-1].device.peer_id == a.peer_id


@on_each_loop
async def test_devices_are_followed_on_both_sides(folder: Path) -> None:
    """A pairing, and what another client of the node does; not a pairing that finds nobody; nothing twice."""
    with anyio.fail_after(DEADLINE):
        async with open_node(config_of(folder, "anna")) as a, open_node(config_of(folder, "bruno")) as b:
            seen: dict[str, list[list[Device]]] = {"anna": [], "bruno": []}

            async def follow(name: str, node: NodeClient) -> None:
                async for devices in node.all_devices():
                    seen[name].append(devices)
                    changed.announce()

            async def until(name: str, *wanted: str) -> None:
                while not seen[name] or [each.name for each in seen[name][-1]] != [*wanted]:
                    await changed.wait()

            changed = Change()
            async with anyio.create_task_group() as tasks, open_client(a.control) as other:
                tasks.start_soon(follow, "anna", a)
                tasks.start_soon(follow, "bruno", b)
                for name in seen:
                    await until(name)
                with pytest.raises(PairingFailedError):
                    await (await b.join_pairing(" ".join(["abandon"] * 11 + ["about"]), timeout=1)).paired()
                assert seen == {"anna": [[]], "bruno": [[]]}
                showing = await a.start_pairing()
                words = " ".join(showing.code.words)
                collector.add_code(words)
                joining = await b.join_pairing(words)
                tasks.start_soon(lambda: joining.paired(accept=True))
                await showing.paired(accept=True)
                await until("anna", "bruno")
                await until("bruno", "anna")
                (device,) = await other.devices()
                await other.rename(device.device_id, "Bruno's")
                await until("anna", "Bruno's")
                await other.forget(device.device_id)
                await until("anna")
                tasks.cancel_scope.cancel()
    for lists in seen.values():
        assert all(one != following for one, following in pairwise(lists))


def test_threads_pair_two_nodes(folder: Path) -> None:
    """Each side in a thread of its own; a third follows all sessions until the client is closed."""
    with_page = msgspec.structs.replace(config_of(folder, "anna"), web="127.0.0.1:0")
    with (
        ThreadPoolExecutor(4) as threads,
        sync.open_node(with_page) as a,
        sync.open_node(config_of(folder, "bruno")) as b,
    ):

        def follow() -> list[Any]:
            seen = []
            with suppress(NodeGoneError):
                for state in other.all_states():
                    seen.append(state)
            return seen

        def follow_devices() -> list[list[str]]:
            found = []
            with suppress(NodeGoneError):
                for devices in other.all_devices():
                    found.append([each.name for each in devices])
                    if found[-1] == ["Bruno's"]:
                        is_renamed.set()
            return found

        is_renamed = threading.Event()
        assert str(a.page).startswith("http://127.0.0.1:")
        assert a.page_token is not None
        assert (b.page, b.page_token) == (None, None)
        collector.add_secret("token of the page", a.page_token.encode())
        with sync.open_client(a.control) as other:
            followed, devices_followed = threads.submit(follow), threads.submit(follow_devices)
            showing = a.start_pairing()
            assert (showing.role, showing.state.stage) == ("initiator", "waiting")
            words = " ".join(showing.code.words)
            collector.add_code(words)
            ending = threads.submit(lambda: showing.paired(accept=True, wait_seconds=DEADLINE))
            joining = b.join_pairing(words)
            assert joining.confirmation(wait_seconds=DEADLINE).device.name == "anna"
            joining.accept()
            states = list(joining.states(history=True))
            assert states[-1].fingerprint == ending.result(DEADLINE).fingerprint
            with pytest.raises(TimeoutError):
                a.wait_ended(wait_seconds=0.01)
            (device,) = a.devices()
            a.rename(device.device_id, "Bruno's")
            assert [each.name for each in a.devices()] == ["Bruno's"]
            assert is_renamed.wait(DEADLINE)
            devices = other.all_devices()
            assert [each.name for each in next(devices)] == ["Bruno's"]
            a.forget(device.device_id)
            assert next(devices) == a.devices() == []
        assert followed.result(DEADLINE)[-1].outcome == "paired"
        names = devices_followed.result(DEADLINE)
        assert names[0] == []
        assert names[names.index(["Bruno's"]) - 1] == ["bruno"]
        with pytest.raises(NodeGoneError, match="closed"):
            other.status()


def test_a_task_of_asyncio_that_is_cancelled_ends_its_node(folder: Path) -> None:
    """The cancellation leaves as it is, when the node has ended; a second one leaves no node behind."""

    async def host(pids: list[int], ready: asyncio.Event) -> None:
        async with open_node(config_of(folder, "anna")) as node:
            pids += [row.pid for row in await node.actors() if row.actor == "supervisor"]
            showing = await node.start_pairing()
            collector.add_code(" ".join(showing.code.words))
            ready.set()
            await showing.paired()

    async def main(cancellations: int) -> int:
        pids: list[int] = []
        ready = asyncio.Event()
        task = asyncio.create_task(host(pids, ready))
        async with asyncio.timeout(DEADLINE):
            await ready.wait()
            for _ in range(cancellations):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
        return pids[0]

    for cancellations in (1, 2):
        pid = asyncio.run(main(cancellations))
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
from spacedrive_node import NodeConfig, open_node, sync
config = NodeConfig(data_dir=sys.argv[2], listen=("/ip4/127.0.0.1/tcp/0",), metrics_listen=None, mdns=False)

async def main():
    async with open_node(config) as node:
        print(*[row.pid for row in await node.actors() if row.actor == "supervisor"], flush=True)
        await node.wait_ended()

def threaded():
    with sync.open_node(config) as node:
        print(*[row.pid for row in node.actors() if row.actor == "supervisor"], flush=True)
        node.wait_ended()

import asyncio, trio
try:
    if sys.argv[1] == "threads":
        threaded()
    elif sys.argv[1] == "trio":
        trio.run(main)
    else:
        asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("kind", ["asyncio", "trio", "threads"])
def test_ctrl_c_ends_the_node_and_leaves_as_it_is(folder: Path, kind: str) -> None:
    """KeyboardInterrupt, in no group, after the node has ended."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, kind, str(folder / "anna")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        node = int(program.stdout.readline())
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=DEADLINE)
    assert (out, errors) == ("interrupted\n", "")
    with pytest.raises(ProcessLookupError):
        os.kill(node, 0)


async def test_a_killed_node_is_reported_to_its_host_and_to_each_of_its_tasks() -> None:
    """By signal and last words, and within a second; a pairing that waits ends, a later call fails."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name, trio.fail_after(DEADLINE):
        folder = Path(name)
        config = NodeConfig(
            data_dir=str(folder / "anna"),
            control=str(folder / "control"),
            listen=("/ip4/127.0.0.1/tcp/0",),
            metrics_listen=None,
            mdns=False,
            log_level="debug",
        )
        lines: list[str] = []
        told: list[Exception] = []
        async with open_node(config, on_log=lines.append) as node:
            session = await node.start_pairing()

            async def wait_for_the_other_device() -> None:
                try:
                    await session.paired()
                except (NodeEndedError, PairingFailedError) as error:
                    told.append(error)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_the_other_device)
                (supervisor,) = [row.pid for row in await node.actors() if row.actor == "supervisor"]
                os.kill(supervisor, signal.SIGKILL)
                with trio.fail_after(DEADLINE):
                    end = await node.wait_ended()
                    with pytest.raises(NodeEndedError, match="signal 9"):
                        await node.status()
            assert len(told) == 1
        assert end.exit_code == -signal.SIGKILL
        assert end.last_lines
        assert list(end.last_lines) == lines[-len(end.last_lines) :]
