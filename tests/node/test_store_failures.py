"""Whole nodes whose data directory fails during a pairing: both sides hear it, and the node goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import Pairing, PairingFailedError
from spacedrive_node.messages.child_protocol import Deliver, Step
from spacedrive_node.tests.harness.nodes import (
    DEADLINE,
    InterceptingSpawner,
    Node,
    pair,
    running_node,
    two_nodes,
)
from spacedrive_node.tests.harness.small_disk import fill, small_disk


async def confirmed(a: Node, b: Node) -> tuple[Pairing, Pairing]:
    """Begin a pairing up to the question to both users."""
    showing = await a.client.start_pairing()
    joining = await b.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
    for pairing in (showing, joining):
        await pairing.confirmation()
    return showing, joining


async def check_ends(anna: Pairing, bruno: Pairing, *, bruno_first: bool = False) -> None:
    """Let both users accept. Bruno cannot store, says so, and Anna hears what can be known there.

    That is a rejection if his acceptance had not left yet, and otherwise that his side has ended.
    """
    for pairing in (bruno, anna) if bruno_first else (anna, bruno):
        await pairing.accept()
    with pytest.raises(PairingFailedError, match="could not store") as there:
        await bruno.paired()
    assert there.value.outcome == "crashed"
    with pytest.raises(PairingFailedError) as here:
        await anna.paired()
    assert here.value.outcome in ("rejected", "lost_contact")


@pytest.mark.timeout(180)
async def test_a_disk_that_is_full_during_a_pairing(tmp_path: Path) -> None:
    """In either order of decisions nobody is paired, both are told at once, and with room it works again."""
    with small_disk(tmp_path / "bruno"):
        async with two_nodes(tmp_path) as (a, b):
            for bruno_first in (False, True):
                with trio.fail_after(DEADLINE):
                    anna, bruno = await confirmed(a, b)
                    filler = fill(tmp_path / "bruno")
                    await check_ends(anna, bruno, bruno_first=bruno_first)
                    status = await b.client.status()
                    assert (status.ready, "vault" in status.missing) == (False, True)
                    filler.unlink()
                    assert await b.client.devices() == []  # the node waits for its vault, which tries again
            await pair(a, b)
            (device,) = await b.client.devices()
            assert device.state == "paired"


@pytest.mark.timeout(180)
async def test_a_data_directory_that_is_removed_during_a_pairing(tmp_path: Path) -> None:
    """Nobody says `paired` with nothing on disk, and the node says what is missing."""
    async with two_nodes(tmp_path) as (a, b):
        with trio.fail_after(DEADLINE):
            anna, bruno = await confirmed(a, b)
            shutil.rmtree(tmp_path / "bruno")
            await check_ends(anna, bruno)
            assert (await b.client.status()).missing == ("vault",)
            said = [line for line in b.logs if line[:3] == ("vault", "error", "store failed")]
            assert "was removed" in str(said[0][3]["detail"])


async def is_paired(node: Node) -> None:
    """Wait until the one device of a node is settled."""
    async for devices in node.client.all_devices():
        if [device.state for device in devices] == ["paired"]:
            return


class AtTheConfirmation(InterceptingSpawner):
    """Calls `fail` once, before the vault gets the ConfirmDevice of a pairing."""

    def __init__(self, fail: Callable[[], object]) -> None:
        super().__init__()
        self.fail: Callable[[], object] | None = fail

    async def intercept(self, actor: str, message: Deliver | Step) -> None:
        if (
            self.fail
            and actor == "vault"
            and isinstance(message, Deliver)
            and message.kind == "ConfirmDevice"
        ):
            fail, self.fail = self.fail, None
            fail()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("removed", [True, False])
async def test_a_data_directory_that_goes_when_both_have_accepted(tmp_path: Path, removed: bool) -> None:
    """The other side may be paired, so nobody says that nothing was. With the directory back it completes."""
    here, away = tmp_path / "bruno", tmp_path / "away"
    spawner = AtTheConfirmation(lambda: shutil.rmtree(here) if removed else here.rename(away))
    async with (
        running_node(tmp_path, "anna") as a,
        running_node(tmp_path, "bruno", spawner=spawner, bootstrap=(a.bootstrap,)) as b,
    ):
        with trio.fail_after(DEADLINE):
            anna, bruno = await confirmed(a, b)
            for pairing in (anna, bruno):
                await pairing.accept()
            with pytest.raises(PairingFailedError, match="may show this one") as failed:
                await bruno.paired()
            assert "Nothing was paired" not in str(failed.value)
            assert (await anna.paired()).outcome == "paired"
            if not removed:
                away.rename(here)
                await is_paired(b)


@pytest.mark.timeout(120)
async def test_a_database_that_is_overwritten_while_it_is_open(tmp_path: Path) -> None:
    """`status`, /readyz and the metric say so within seconds, though every read would still succeed."""
    async with running_node(tmp_path, "anna", metrics_listen="127.0.0.1:0") as node:
        database = tmp_path / "anna" / "devices.db"
        with trio.fail_after(DEADLINE):
            while not (await node.client.status()).ready:
                await trio.lowlevel.checkpoint()
            with database.open("r+b") as file:
                file.write(b"garbage!" * (database.stat().st_size // 8))
            while (status := await node.client.status()).ready or "vault" not in status.missing:
                await trio.lowlevel.checkpoint()
            while "is damaged; restore it from a backup" not in (page := await page_of(node, "/readyz")):
                await trio.lowlevel.checkpoint()
        assert page.startswith("HTTP/1.1 503 ")
        assert "spacedrive_node_ready 0.0" in await page_of(node, "/metrics")
        assert [line for line in node.logs if "store cannot be opened" in str(line)]


async def page_of(node: Node, path: str) -> str:
    """What the node's HTTP server answers."""
    assert node.ready.metrics is not None
    host, _, port = node.ready.metrics.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join([piece async for piece in stream]).decode()
