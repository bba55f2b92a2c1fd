"""Two nodes with one identity, because a data directory was copied: both say so, wherever they notice it."""

import shutil
from pathlib import Path

import trio

from spacedrive_node.tests.harness.command_runner import RunningCommand, run
from spacedrive_node.tests.harness.log_lines import wait_for_line
from spacedrive_node.tests.harness.node_commands import sdnode_pair, sdnode_up

SAID = "another node has this node's identity"


def copy_of_anna(folder: Path) -> None:
    """Make the data directory of `anna`, and a copy of it for `bruno`."""
    with sdnode_up(folder, "anna"):
        pass
    shutil.copytree(folder / "anna", folder / "bruno")


def address_of(ready: dict[str, object]) -> str:
    (address,) = ready["addresses"]  # type: ignore[misc]
    return f"{address}"


def test_on_one_host(folder: Path) -> None:
    """The register of this host shows it: both warn, with the address of the other."""
    copy_of_anna(folder)
    with sdnode_up(folder, "anna") as a, sdnode_up(folder, "bruno") as b:
        assert a.ready["peer_id"] == b.ready["peer_id"]
        wait_for_line(folder / "anna.log", "warning", SAID, address_of(b.ready))
        wait_for_line(folder / "bruno.log", "warning", SAID, address_of(a.ready))


def test_through_a_dht_server(folder: Path) -> None:
    """Without the register: the one that joins is told of itself by a server; so is the other."""
    copy_of_anna(folder)
    alone = ("--no-same-host",)
    with sdnode_up(folder, "server", *alone) as server:
        bootstrap = ("--bootstrap", server.ready["dial"][0])  # as the event `ready` gives it for this
        with (
            sdnode_up(folder, "anna", *alone, *bootstrap) as a,
            sdnode_up(folder, "bruno", *alone, *bootstrap) as b,
            sdnode_pair(a) as (words, _),
        ):
            run(folder, "join", "--timeout", "20", "--data-dir", str(b.data_dir), words)
            wait_for_line(folder / "bruno.log", "warning", SAID, address_of(a.ready))
            wait_for_line(folder / "anna.log", "warning", SAID, "at=127.0.0.1")


async def test_by_a_qr_code(folder: Path) -> None:
    """Without any server: the hint of the code names the reader itself, at another address. Both are told."""
    copy_of_anna(folder)
    alone = ("--no-same-host",)
    with sdnode_up(folder, "anna", *alone) as a, sdnode_up(folder, "bruno", *alone) as b:
        pair = RunningCommand(folder, "pair", "--yes", "--json", "--data-dir", str(a.data_dir))
        try:
            qr = (await pair.event("code"))["qr"]
            await trio.to_thread.run_sync(
                run, folder, "join", "--timeout", "3", "--data-dir", str(b.data_dir), qr
            )
        finally:
            pair.close()
        wait_for_line(folder / "bruno.log", "warning", SAID, address_of(a.ready))
        wait_for_line(folder / "anna.log", "warning", SAID, "at=127.0.0.1")


async def test_the_own_qr_code_is_no_second_node(folder: Path) -> None:
    """Whoever reads the code of the very same node is told nothing of copies."""
    with sdnode_up(folder, "anna", "--no-same-host") as a:
        pair = RunningCommand(folder, "pair", "--yes", "--json", "--data-dir", str(a.data_dir))
        try:
            qr = (await pair.event("code"))["qr"]
            await trio.to_thread.run_sync(
                run, folder, "join", "--timeout", "3", "--data-dir", str(a.data_dir), qr
            )
        finally:
            pair.close()
    assert SAID not in (folder / "anna.log").read_text()


def test_a_bootstrap_peer_with_another_id(folder: Path) -> None:
    """It answers, but as somebody else: said with both peer ids, not taken for a dead port."""
    with sdnode_up(folder, "server") as server, sdnode_up(folder, "other") as other:
        wrong = f"{address_of(server.ready)}/p2p/{other.ready['peer_id']}"
        with sdnode_up(folder, "anna", "--no-same-host", "--bootstrap", wrong):
            wait_for_line(
                folder / "anna.log",
                "warning",
                "--bootstrap",
                address_of(server.ready),
                str(server.ready["peer_id"]),
                str(other.ready["peer_id"]),
            )
