"""`sdnode reload`, SIGHUP and what systemd is told, with a real node and its configuration file."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from spacedrive_node import ReloadFailedError, ReloadReport, SettingChange, open_client, sync
from spacedrive_node.tests.harness.loops import on_each_loop
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up

SERVICE = ("env", "--default-signal=HUP", "setsid")
"""As a service is started: without a controlling terminal, and with SIGHUP not ignored, as nohup has it."""
BEFORE = 'log-level = "warning"\nmax-sessions = 20\n'


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="sdrel-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def the_node(folder: Path) -> Iterator[UpCommand]:
    (folder / "node.toml").write_text(BEFORE)
    flags = ["--config", str(folder / "node.toml"), "--log-format", "json"]
    with sdnode_up(folder, "anna", *flags, command=[*SERVICE]) as one:
        yield one


@pytest.fixture
def node(the_node: UpCommand, file: Path) -> UpCommand:
    """With the settings of BEFORE."""
    the_node.run("reload")
    return the_node


@pytest.fixture
def file(folder: Path) -> Path:
    path = folder / "node.toml"
    path.write_text(BEFORE)
    return path


def test_the_log_level_changes_and_no_process_does(node: UpCommand, file: Path) -> None:
    before = {row["actor"]: row["pid"] for row in node.run("actors")}
    file.write_text('log-level = "info"\nmax-sessions = 20\n')
    (done,) = node.run("reload")
    assert done == {
        "event": "reload",
        "state": "applied",
        "changes": [{"key": "log-level", "former": "warning", "new": "info", "needs_restart": False}],
        "actors": [],
        "reasons": [],
    }
    assert {row["actor"]: row["pid"] for row in node.run("actors")} == before
    assert node.wait_logged("reloaded")["level"] == "info"
    assert node.run("reload")[0]["state"] == "unchanged"


def test_a_wrong_file_changes_nothing(node: UpCommand, file: Path) -> None:
    """It names the line and the key, as at the start; the node goes on, and a mended file is taken."""
    file.write_text('log-level = "debug"\nmax-sessions = "many"\n')
    (done,) = node.run("reload", code=2)
    assert done["state"] == "refused"
    assert [f"{file}:2: max-sessions: " in reason for reason in done["reasons"]] == [True]
    assert node.run("reload", "--check", code=2)[0]["reasons"] == done["reasons"]
    file.write_text("log-level = [\n")
    assert f"{file}:" in node.run("reload", code=2)[0]["reasons"][0]
    file.write_text("name = " + "[" * 20_000)  # which the parser cannot follow
    assert "is no configuration" in node.run("reload", code=2)[0]["reasons"][0]
    file.unlink()
    assert "cannot be read" in node.run("reload", code=2)[0]["reasons"][0]
    assert node.run("status")[0]["sessions"]["limit"] == 20
    file.write_text('log-level = "debug"\nmax-sessions = 9\n')
    assert [change["key"] for change in node.run("reload")[0]["changes"]] == ["max-sessions", "log-level"]
    assert node.run("status")[0]["sessions"]["limit"] == 9


def test_a_flag_still_counts_before_the_file(node: UpCommand, file: Path) -> None:
    file.write_text('name = "bruno"\nmetrics-listen = "off"\n' + BEFORE)
    assert node.run("reload")[0]["state"] == "unchanged"


def test_sighup_reloads_where_there_is_no_terminal(node: UpCommand, file: Path) -> None:
    """Several at once are one reload, or two: the last file is what counts."""
    file.write_text('max-sessions = 9\nlog-level = "info"\n')
    logged = len(node.log().encode())
    for _ in range(5):
        node.process.send_signal(signal.SIGHUP)
    node.wait_logged("reloaded", logged)
    assert node.run("status")[0]["sessions"]["limit"] == 9
    file.write_text('max-sessions = 0\nlog-level = "info"\n')
    logged = len(node.log().encode())
    node.process.send_signal(signal.SIGHUP)
    refused = node.wait_logged("reload refused, nothing was changed", logged)
    assert "max-sessions" in str(refused["why"])
    assert node.run("status")[0]["sessions"]["limit"] == 9
    assert node.process.poll() is None


def test_people_read_what_has_changed(node: UpCommand, file: Path) -> None:
    file.write_text("same-host = false\n" + BEFORE)
    done = subprocess.run(
        [*node.sdnode[len(SERVICE) :], "reload", "--data-dir", str(node.data_dir)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(node.folder)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "same-host",
        "  was  yes",
        "  now  no",
        "changed",
        "actors started again: discovery",
    ]


def control_of(node: UpCommand) -> Path:
    return Path(str(node.ready["control"]))


@on_each_loop
async def test_programs_have_it_reloaded(node: UpCommand, file: Path) -> None:
    """The result is typed, and outlives the restart of the gateway; a refusal is an exception."""
    write = anyio.Path(file).write_text
    with anyio.fail_after(DEADLINE):
        async with open_client(control_of(node)) as client:
            assert (await client.reload()).state == "unchanged"
            await write(BEFORE + "code-lifetime = 120\n")
            possible = await client.reload(check=True)
            assert (possible.state, possible.actors) == ("possible", ("gateway",))
            report = await client.reload()
            (change,) = report.changes
            assert (report.state, report.actors) == ("applied", ("gateway",))
            assert isinstance(report, ReloadReport)
            assert isinstance(change, SettingChange)
            assert (change.key, change.needs_restart) == ("code-lifetime", False)
            await write(BEFORE + 'code-lifetime = "long"\n')
            with pytest.raises(ReloadFailedError, match="code-lifetime") as failed:
                await client.reload()
            assert (failed.value.report.state, failed.value.report.changes) == ("refused", ())


def test_threads_have_it_reloaded(node: UpCommand, file: Path) -> None:
    with sync.open_client(control_of(node)) as client:
        file.write_text(BEFORE + 'web = "127.0.0.1:0"\n')
        with pytest.raises(ReloadFailedError) as failed:
            client.reload(check=True, wait_seconds=DEADLINE)
        assert [change.needs_restart for change in failed.value.report.changes] == [True]
        file.write_text('log-level = "error"\n')
        assert client.reload(wait_seconds=DEADLINE).state == "applied"
