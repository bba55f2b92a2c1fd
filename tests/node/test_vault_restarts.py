"""Whole nodes whose vault is killed while its files cannot be opened: the node waits for it, and goes on."""

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import trio

from spacedrive_node.node import NodeFailedError
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.spawner import RunningChild
from spacedrive_node.tests.harness.nodes import (
    DEADLINE,
    InterceptingSpawner,
    Node,
    pair,
    running_node,
    two_nodes,
)
from spacedrive_node.tests.harness.small_disk import fill, small_disk

Trouble = Callable[[Path], Iterator[None]]


def full(data_dir: Path) -> Iterator[None]:
    """SQLite has to make its index anew, for which there is no room: the former one is held open here."""
    index = data_dir / "devices.db-shm"
    with index.open("rb"):
        index.unlink()
        filler = fill(data_dir)
        yield
    filler.unlink()


def unreadable(data_dir: Path) -> Iterator[None]:
    data_dir.chmod(0)
    yield
    data_dir.chmod(0o700)


def file_unreadable(data_dir: Path) -> Iterator[None]:
    (data_dir / "devices.db").chmod(0)
    yield
    (data_dir / "devices.db").chmod(0o600)


def away(data_dir: Path) -> Iterator[None]:
    """Moved away, and back; in between a new vault must not begin as another device."""
    elsewhere = data_dir.with_name("elsewhere")
    data_dir.rename(elsewhere)
    yield
    shutil.rmtree(data_dir, ignore_errors=True)
    elsewhere.rename(data_dir)


async def is_ready(node: Node, ready: bool) -> tuple[str, ...]:
    """Wait until the node is ready, or not. Return what is missing."""
    while True:
        status = await node.client.status()
        if status.ready is ready:
            return status.missing
        await trio.sleep(0.05)  # readiness is asked for, as a health check does


async def vault_pid(node: Node, other_than: int = 0) -> int:
    """Wait until a vault runs, and return its process; it is 0 between two of them."""
    while True:
        pid = (await node.pids()).get("vault", 0)
        if pid not in (0, other_than):
            return pid
        await trio.sleep(0.02)  # the list of processes is asked for, as sdnode actors does


async def kill_vault(node: Node) -> None:
    """Kill the vault, and wait for the next one."""
    pid = await vault_pid(node)
    os.kill(pid, signal.SIGKILL)
    await vault_pid(node, other_than=pid)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("trouble", [full, unreadable, file_unreadable, away])
async def test_a_vault_that_is_killed_while_its_files_cannot_be_opened(
    tmp_path: Path, trouble: Trouble
) -> None:
    """The node lives, says why it is not ready, and is the same device again by itself, with its devices."""
    with small_disk(tmp_path / "bruno") if trouble is full else nullcontext():
        async with two_nodes(tmp_path) as (a, b):
            with trio.fail_after(DEADLINE):
                await pair(a, b)
                devices = await b.client.devices()
                with contextmanager(trouble)(tmp_path / "bruno"):
                    await kill_vault(b)
                    assert await is_ready(b, False) == ("vault",)
                    await kill_vault(b)
                    assert await is_ready(b, False) == ("vault",)
                    said = [line for line in b.logs if line[2] == "store cannot be opened, trying again"]
                    assert said
                assert await is_ready(b, True) == ()
                assert await b.client.devices() == devices
                assert (await b.client.status()).peer == b.ready.peer
                await pair(b, a)


class KillingSpawner(InterceptingSpawner):
    """Kills the first vault before it has done anything."""

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        child = await super().spawn(spec)
        if spec.kind == "vault" and not self.kills:
            self.kills += 1
            child.kill()
        return child


async def test_a_vault_that_is_killed_before_the_node_has_an_identity(tmp_path: Path) -> None:
    """The next one makes it: nothing has been removed."""
    with trio.fail_after(DEADLINE):
        async with running_node(tmp_path, "anna", spawner=KillingSpawner()) as a:
            assert (await a.client.status()).ready
            await kill_vault(a)
            assert (await a.client.status()).peer == a.ready.peer


@pytest.mark.timeout(180)
async def test_a_first_start_without_a_usable_directory_fails_at_once(tmp_path: Path) -> None:
    """With a sentence that says what is wrong."""
    (tmp_path / "anna").mkdir(0o700)
    (tmp_path / "anna").chmod(0)
    try:
        with trio.fail_after(DEADLINE), pytest.raises(BaseException) as failed:  # noqa: PT011
            async with running_node(tmp_path, "anna"):
                pass
        assert failed.group_contains(NodeFailedError, match=os.strerror(errno.EACCES)) or (
            isinstance(failed.value, NodeFailedError) and os.strerror(errno.EACCES) in str(failed.value)
        )
    finally:
        (tmp_path / "anna").chmod(0o700)
