"""The real commands, as a user runs them: processes, terminals' output, signals, exit codes."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from spacedrive_node import NodeConfig, open_node
from spacedrive_node.tests.harness.node_commands import (
    DEADLINE,
    SDNODE,
    sdnode_pair,
    sdnode_started,
    sdnode_up,
)
from spacedrive_node.tests.harness.secret_sweep import collector


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes, and pytest's own folders come near that."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as folder:
        yield Path(folder)


def test_two_nodes_without_set_up_pair_by_words_and_remember_it(tmp_path: Path) -> None:
    """up, up, pair, join, devices; then both are stopped and started again: same identity, same devices."""
    with sdnode_up(tmp_path, "anna") as a, sdnode_up(tmp_path, "bruno") as b:
        with sdnode_pair(a) as (words, shown):
            # The words, and on the next line the answer to the question that follows.
            events = b.run("join", "-", stdin=f"{words}\ny\n")
            assert shown.wait(DEADLINE) == 0
            mine = [json.loads(line) for line in shown.stdout]
        assert (events[-1]["event"], mine[-1]["event"]) == ("paired", "paired")
        assert events[-1]["fingerprint"] == mine[-1]["fingerprint"]
        before = a.run("devices"), b.run("devices"), a.ready["peer_id"]
        assert [row["name"] for row in before[0] + before[1]] == ["bruno", "anna"]
        assert a.stop() == b.stop() == 0
    with sdnode_up(tmp_path, "anna") as a, sdnode_up(tmp_path, "bruno") as b:
        assert (a.run("devices"), b.run("devices"), a.ready["peer_id"]) == before
        assert a.run("status")[0]["peer_id"] == a.ready["peer_id"]


def test_words_that_nobody_shows_and_words_that_cannot_be(tmp_path: Path) -> None:
    """not_found is 3; a typo is 2, names the word and is sent to nobody."""
    with sdnode_up(tmp_path, "anna") as a:
        words = "abandon " * 11 + "about"
        assert (
            a.run("join", "-", "--yes", "--timeout", "1", stdin=words, code=3)[-1]["outcome"] == "not_found"
        )
        assert a.run("join", "-", "--yes", stdin="abandom " + words[8:], code=2) == []
        assert a.run("status")[0]["sessions"] == {"active": 0, "limit": 256}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGKILL in the middle of a pairing: every process ends, and the next start finds all well."""
    with sdnode_up(tmp_path, "anna") as a:
        with sdnode_pair(a):
            rows = a.run("actors")
            pids = [int(str(row["pid"])) for row in rows]
            assert len([row for row in rows if row["actor"] != "spare"]) == 8
            a.process.kill()
            a.process.wait()
            with trio.fail_after(DEADLINE):
                while any(_alive(pid) for pid in pids):  # noqa: ASYNC110, nobody tells of grandchildren
                    await trio.sleep(0.01)
        peer = a.ready["peer_id"]
    with sdnode_up(tmp_path, "anna") as a:
        assert a.ready["peer_id"] == peer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_a_node_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 0, no process left, and no runtime files."""
    with sdnode_up(tmp_path, "anna") as a:
        pids = [int(str(row["pid"])) for row in a.run("actors")]
        a.process.send_signal(number)
        assert a.process.wait(DEADLINE) == 0
        assert not any(_alive(pid) for pid in pids)
        assert not Path(str(a.ready["control"])).exists()


def test_a_node_that_stops_ends_its_pairings_with_a_word(tmp_path: Path) -> None:
    """Before anything is accepted: commands that wait hear of it at once, and that nobody has cancelled."""
    with (
        sdnode_up(tmp_path, "anna") as a,
        sdnode_pair(a) as (_words, shown),
        sdnode_started(a, "join", "abandon " * 11 + "about", output=subprocess.PIPE) as searching,
    ):
        assert searching.stdout is not None
        assert json.loads(searching.stdout.readline())["stage"] == "searching"
        assert a.stop() == 0
        for command in (shown, searching):
            assert command.wait(DEADLINE) == 6
            assert command.stdout is not None
            last = json.loads(command.stdout.readlines()[-1])
            assert (last["event"], last["outcome"]) == ("failed", "lost_contact")
            assert "This node was stopped" in last["message"]


def test_a_second_node_on_one_data_directory_refuses(tmp_path: Path) -> None:
    with sdnode_up(tmp_path, "anna") as a:
        for more in ([], ["--control", str(tmp_path / "other.sock")]):
            done = subprocess.run(
                [
                    *SDNODE,
                    "up",
                    "--data-dir",
                    str(a.data_dir),
                    "--metrics-listen",
                    "off",
                    "--listen",
                    "/ip4/127.0.0.1/tcp/0",
                    "--no-mdns",
                    *more,
                ],
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            )
            assert done.returncode == 6  # it may start when the other has ended
            assert "--data-dir" in done.stderr
            assert "Traceback" not in done.stderr


def test_the_demo_shows_a_pairing(tmp_path: Path) -> None:
    """Two real nodes, one real lookup, equal fingerprints, nothing left."""
    done = subprocess.run(
        [*SDNODE, "demo"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "fingerprint" in done.stdout
    assert list(tmp_path.iterdir()) == []


async def test_the_python_api_pairs_two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_node as the README has it, with two nodes in one program."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    def config(name: str, **more: object) -> NodeConfig:
        return NodeConfig(
            data_dir=str(tmp_path / name), name=name, listen=("/ip4/127.0.0.1/tcp/0",), mdns=False,
            metrics_listen=None, **more,
        )  # fmt: skip

    with trio.fail_after(DEADLINE):
        async with open_node(config("anna")) as a, open_node(config("bruno")) as b:
            session = await a.start_pairing()
            collector.add_code(" ".join(session.code.words))
            joining = await b.join_pairing(" ".join(session.code.words))
            seen = await session.confirmation()
            assert seen.device.name == "bruno"
            assert seen.check == (await joining.confirmation()).check
            await session.accept()
            await joining.accept()
            assert (await session.paired()).fingerprint == (await joining.paired()).fingerprint
