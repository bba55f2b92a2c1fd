"""Where a node runs: without a home, with few files, beside another user's directories and cleaners."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from spacedrive_node.config.paths import folder_name
from spacedrive_node.tests.harness.command_runner import RunningCommand, run
from spacedrive_node.tests.harness.log_lines import wait_for_line
from spacedrive_node.tests.harness.node_commands import sdnode_up

LOOPBACK = ("--listen", "/ip4/127.0.0.1/tcp/0", "--metrics-listen", "off", "--no-mdns")
NOBODY = ("unshare", "--user", "--map-user=54321")
"""Runs a program as a user who is in no list of users."""


def peer_of(folder: Path, *flags: str, **variables: str) -> str:
    """Return the peer id of the node that `sdnode status` means."""
    done = run(folder, "status", "--json", *flags, more=variables)
    assert done.code == 0, done.err
    return str(done.events[0]["peer_id"])


def test_a_flag_counts_before_any_variable(folder: Path) -> None:
    """Whichever of the two names a node: the flag alone does."""
    with sdnode_up(folder, "anna") as a, sdnode_up(folder, "bruno") as b:
        anna = {"SDNODE_CONTROL": str(a.ready["control"]), "SDNODE_DATA_DIR": str(a.data_dir)}
        assert peer_of(folder, **anna) == a.ready["peer_id"]
        assert peer_of(folder, "--data-dir", str(b.data_dir), **anna) == b.ready["peer_id"]
        assert peer_of(folder, "--control", str(b.ready["control"]), **anna) == b.ready["peer_id"]
        assert peer_of(folder, SDNODE_CONTROL="", SDNODE_DATA_DIR=str(b.data_dir)) == b.ready["peer_id"]


@pytest.mark.parametrize("flag", ["--data-dir", "--control"])
def test_an_empty_path(folder: Path, flag: str) -> None:
    """Of a script's variable that is not set, say: it is not the present directory."""
    run(folder, "status", flag, "").expect_refusal(2, flag, "empty")
    run(folder, "up", "--check-config", flag, "").expect_refusal(2, flag, "empty")


def test_home_in_every_path(folder: Path) -> None:
    """`~` is the home directory in flags, variables and the name of the configuration file."""
    (folder / "node.toml").write_text("control = '~/own.sock'\n")
    home = {"HOME": str(folder)}
    done = run(folder, "up", "--check-config", "--json", more={**home, "SDNODE_CONFIG": "~/node.toml"})
    assert done.events[0]["settings"]["control"]["value"] == str(folder / "own.sock")
    with sdnode_up(folder, "anna", "--control", str(folder / "own.sock")) as a, sdnode_up(folder, "bruno"):
        for flags, variables in (
            ((), {"SDNODE_CONTROL": "~/own.sock"}),
            ((), {"SDNODE_DATA_DIR": "~/anna"}),
            (("--control", "~/own.sock"), {}),
            (("--data-dir", "~/anna"), {}),
        ):
            assert peer_of(folder, *flags, **home, **variables) == a.ready["peer_id"]


@pytest.mark.parametrize("command", [("up", *LOOPBACK), ("up", "--check-config")])
@pytest.mark.parametrize("home", ["", "here", None])
def test_no_home_directory(folder: Path, command: tuple[str, ...], home: str | None) -> None:
    """Nothing to put the data in: one sentence that says what to name, and no directory of a strange name."""
    before = NOBODY if home is not None else (*NOBODY, "env", "--unset=HOME")
    variables = {"XDG_DATA_HOME": "", "HOME": home or ""}
    run(folder, *command, more=variables, before=before).expect_refusal(2, "HOME")
    named = ("--data-dir", "~/anna", "--control", str(folder / "c"))
    run(folder, *command, *named, more=variables, before=before).expect_refusal(2, "--data-dir", "HOME")


@pytest.mark.parametrize("variable", ["SDNODE_DATA_DIR", "SDNODE_CONTROL", "SDNODE_CONFIG"])
def test_the_home_of_a_user_who_does_not_exist(folder: Path, variable: str) -> None:
    run(folder, "up", "--check-config", more={variable: "~nobody-of-this-name/x"}).expect_refusal(
        2, "nobody-of-this-name"
    )


@pytest.mark.parametrize("limit", [100, 200])
def test_few_open_files(folder: Path, limit: int) -> None:
    """Too few to run at all: said before anything starts."""
    done = run(
        folder,
        "up",
        "--data-dir",
        str(folder / "anna"),
        *LOOPBACK,
        before=("prlimit", f"--nofile={limit}:{limit}"),
    )
    done.expect_refusal(2, str(limit), "ulimit -n")
    assert done.err.count("\n") == 1
    assert not (folder / "anna").exists()


@contextmanager
def directory_of_another_user(folder: Path) -> Iterator[Path]:
    """One that this user may write into only if it is root, as after sudo."""
    if os.geteuid() != 0:
        yield Path("/")
        return
    path = folder / "other"
    path.mkdir(mode=0o700)
    os.chown(path, 54321, 54321)
    yield path
    os.chown(path, 0, 0)


def test_the_runtime_directory_of_another_user(folder: Path) -> None:
    """Nothing is made in it, by a node or by a command, and the node is found by its data directory."""
    with directory_of_another_user(folder) as other:
        found = set(other.iterdir())
        foreign = {"XDG_RUNTIME_DIR": str(other)}
        run(folder, "status", "--data-dir", str(folder / "none"), more=foreign).expect_refusal(7)
        with sdnode_up(folder, "anna", variables=foreign) as a:
            wait_for_line(folder / "anna.log", "warning", "XDG_RUNTIME_DIR")
            assert peer_of(folder, "--data-dir", str(a.data_dir), **foreign) == a.ready["peer_id"]
        assert set(other.iterdir()) == found


@pytest.mark.parametrize(
    "command", [("status",), ("devices",), ("actors",), ("pair",), ("up", "--check-config")]
)
def test_a_command_that_asks_makes_no_folder(folder: Path, command: tuple[str, ...]) -> None:
    """It looks, and leaves everything as it was."""
    for flags in ((), ("--data-dir", str(folder / "none"))):
        run(folder, *command, *flags)
    assert list(folder.iterdir()) == []


def test_a_cleaner_removes_the_runtime_record(folder: Path) -> None:
    """The node writes it again: commands find it, also by a socket of its own."""
    with sdnode_up(folder, "anna", "--control", str(folder / "own.sock")) as a:
        record = folder / "spacedrive-node" / folder_name(a.data_dir) / "node.json"
        record.unlink()
        record.parent.rmdir()
        wait_for_line(folder / "anna.log", "warning", "runtime record")
        assert peer_of(folder) == a.ready["peer_id"]
        assert peer_of(folder, "--data-dir", str(a.data_dir)) == a.ready["peer_id"]
        os.utime(record, (0, 0))
        (folder / "own.sock").unlink()
        wait_for_line(folder / "anna.log", "warning", "control socket")
        assert peer_of(folder) == a.ready["peer_id"]
        assert record.stat().st_mtime > 0
    assert not record.parent.exists()
    assert not (folder / "own.sock").exists()


async def test_a_pairing_goes_on_when_a_cleaner_removes_the_runtime_directory(folder: Path) -> None:
    """All of it: the clients lose their connection and find the node again at the same place."""
    with sdnode_up(folder, "anna") as a, sdnode_up(folder, "bruno", "--bootstrap", a.ready["dial"][0]) as b:
        pair = RunningCommand(folder, "pair", "--yes", "--json", "--data-dir", str(a.data_dir))
        try:
            words = (await pair.event("code"))["words"]
            shutil.rmtree(folder / "spacedrive-node")
            for name in ("anna", "bruno"):
                log = folder / f"{name}.log"
                await trio.to_thread.run_sync(wait_for_line, log, "warning", "control socket")
            joined = await trio.to_thread.run_sync(
                run, folder, "join", "--yes", "--json", "--data-dir", str(b.data_dir), words
            )
            assert (joined.code, joined.events[-1]["event"]) == (0, "paired"), joined.err
            assert (await pair.end()).code == 0
        finally:
            pair.close()
        mode = os.stat(str(a.ready["control"])).st_mode
        assert (stat.S_ISSOCK(mode), mode & 0o777) == (True, 0o600)
        assert a.stop() == b.stop() == 0
    with pytest.raises(FileNotFoundError):
        os.stat(str(a.ready["control"]))


def test_a_runtime_directory_that_goes_away_for_good(folder: Path) -> None:
    """As at a logout: the node is found in the directory that is used instead. Where that cannot be: said."""
    session = folder / "session"
    session.mkdir(mode=0o700)
    where = {"XDG_RUNTIME_DIR": str(session)}
    with sdnode_up(folder, "anna", variables=where) as a:
        shutil.rmtree(session)
        wait_for_line(folder / "anna.log", "warning", "control socket")
        assert peer_of(folder, "--data-dir", str(a.data_dir), **where) == a.ready["peer_id"]
    (folder / "run").mkdir()
    with sdnode_up(folder, "bruno", "--control", str(folder / "run" / "c")):
        shutil.rmtree(folder / "run")
        wait_for_line(folder / "bruno.log", "warning", "may not find this node", "does not exist")


def test_a_control_socket_inside_a_data_directory_to_be_made(folder: Path) -> None:
    """Its directory is made with it, private; and taken away again if the node cannot start."""
    data_dir = folder / "anna"
    control = data_dir / "run" / "control.sock"
    refused = run(folder, "up", "--data-dir", str(data_dir), "--control", str(control), *LOOPBACK[:2],
                  "--metrics-listen", "192.0.2.1:1")  # fmt: skip
    refused.expect_refusal(6, "--metrics-listen")  # that address may come
    assert not data_dir.exists()
    with sdnode_up(folder, "anna", "--control", str(control)) as a:
        assert data_dir.stat().st_mode & 0o777 == control.parent.stat().st_mode & 0o777 == 0o700
        assert peer_of(folder, "--control", str(control)) == a.ready["peer_id"]
    run(
        folder, "up", "--data-dir", str(folder / "new"), "--control", str(folder / "no" / "c"), *LOOPBACK
    ).expect_refusal(2, "does not exist")


def test_no_module_is_taken_from_the_directory_in_which_it_is_started(folder: Path) -> None:
    """Who may write into /tmp, for example, must not have a node that is started there run his code."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for module in ("trio", "msgspec", "cryptography", "libp2p", "spacedrive_node"):
        (elsewhere / f"{module}.py").write_text(
            f"open({str(folder / 'ran')!r}, 'w').close()\nraise SystemExit\n"
        )
    up = subprocess.Popen(
        [Path(sys.executable).with_name("sdnode"), "up", "--json", "--data-dir", folder / "anna", *LOOPBACK],
        cwd=elsewhere,
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(60, up.kill)
    killer.start()
    try:
        assert up.stdout is not None
        ready = up.stdout.readline()
    finally:
        killer.cancel()
        up.terminate()
        _out, log = up.communicate(timeout=60)
    assert ready, log
    assert json.loads(ready)["event"] == "ready"
    assert not (folder / "ran").exists()
    assert up.returncode == 0
