"""The systemd unit, run by Debian's systemd in namespaces of its own, as the package has installed it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.debian_systemd import SystemdMachine, systemd_machine

UNIT = "spacedrive-node.service"
STATUS = ("sdnode", "status", "--control", "/run/spacedrive-node/control.sock")
DROP_IN = f"/etc/systemd/system/{UNIT}.d/test.conf"
FILE = "/etc/spacedrive-node/node.toml"
PASSPHRASE = "four plain words together"


@pytest.fixture
def machine(installed: Sequence[Path], folder: str) -> Iterator[SystemdMachine]:
    with systemd_machine(installed, Path(folder, "upper")) as running:
        yield running


def wait_for(lines: Iterator[str], part: str) -> None:
    """Wait for a line of the journal; pytest's timeout is the deadline."""
    assert any(part in line for line in lines), part


def test_it_runs_from_the_start_and_stops_in_time(machine: SystemdMachine) -> None:
    """Type=notify: active means that the node takes pairings; it says so in a line, as its own user."""
    shown = machine.show(UNIT)
    assert (shown["ActiveState"], shown["SubState"], shown["NRestarts"]) == ("active", "running", "0")
    assert shown["StatusText"].startswith("ready, at ")
    machine.run(*STATUS, user="spacedrive")
    owners = machine.run(
        "sh", "-c", f"stat -c %U /proc/$(cat /sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs | head -1)"
    )
    assert owners == "spacedrive\n"
    log = machine.run("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}")
    assert '"sandbox"' not in log, "a step of a sandbox did not take effect"
    machine.run("timeout", "10", "systemctl", "stop", UNIT)
    shown = machine.show(UNIT)
    assert (shown["ActiveState"], shown["Result"], shown["ExecMainStatus"]) == ("inactive", "success", "0")


def test_it_comes_back_when_the_supervisor_is_killed(machine: SystemdMachine) -> None:
    before = machine.show(UNIT)["MainPID"]
    with machine.journal(UNIT) as lines:
        machine.run("sh", "-c", f"kill -KILL {before}")
        wait_for(lines, "Started ")
    shown = machine.show(UNIT)
    assert (shown["ActiveState"], shown["NRestarts"]) == ("active", "1")
    assert shown["MainPID"] != before
    machine.run(*STATUS, user="spacedrive")


def test_the_watchdog_ends_a_supervisor_that_hangs(machine: SystemdMachine) -> None:
    before = machine.show(UNIT)["MainPID"]
    with machine.journal(UNIT) as lines:
        machine.run("sh", "-c", f"kill -STOP {before}")
        wait_for(lines, "Watchdog timeout")
        wait_for(lines, "Started ")
    assert machine.show(UNIT)["MainPID"] != before
    machine.run(*STATUS, user="spacedrive")


def test_a_credential_is_the_passphrase_and_without_it_nothing_is_tried_again(
    machine: SystemdMachine,
) -> None:
    """The identity is sealed with it; another one is refused once, by its exit code."""
    machine.write("/etc/spacedrive-node.passphrase", PASSPHRASE, mode="600")
    credential = "LoadCredential=passphrase:/etc/spacedrive-node.passphrase"
    variable = "Environment=SDNODE_PASSPHRASE_FILE=%d/passphrase"
    machine.write(DROP_IN, f"[Service]\n{credential}\n{variable}\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    machine.run(*STATUS, user="spacedrive")
    machine.write("/etc/spacedrive-node.passphrase", "another one", mode="600")
    machine.run("systemctl", "restart", UNIT, code=1)
    shown = machine.show(UNIT)
    assert (shown["ActiveState"], shown["ExecMainStatus"], shown["NRestarts"]) == ("failed", "2", "0")
    log = machine.run("journalctl", "--no-pager", "--output=cat", f"--unit={UNIT}")
    assert "this passphrase does not open" in log
    assert PASSPHRASE not in log


def test_a_reload_takes_effect_or_says_why_not(machine: SystemdMachine) -> None:
    """The process stays in either case; what is wrong stands where `systemctl status` shows it."""
    machine.write(DROP_IN, f"[Service]\nEnvironment=SDNODE_CONFIG={FILE}\n")
    machine.write(FILE, "max-sessions = 20\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    before = machine.show(UNIT)["MainPID"]
    machine.write(FILE, "max-sessions = 9\n")
    machine.run("systemctl", "reload", UNIT)
    assert sessions_limit(machine) == 9
    machine.write(FILE, "max-sessions = 7\nlog-level = 'loud'\n")
    machine.run("systemctl", "reload", UNIT, code=1)
    assert f"{FILE}:2: log-level" in machine.run(
        "systemctl", "status", "--full", "--lines=20", "--no-pager", UNIT
    )
    assert sessions_limit(machine) == 9
    shown = machine.show(UNIT)
    assert (shown["ActiveState"], shown["SubState"], shown["NRestarts"]) == ("active", "running", "0")
    assert shown["MainPID"] == before


def sessions_limit(machine: SystemdMachine) -> int:
    limit: int = json.loads(machine.run(*STATUS, "--json", user="spacedrive"))["sessions"]["limit"]
    return limit


SESSIONS = 32
OPEN_SESSIONS = """
import sys
from pathlib import Path
from spacedrive_node.sync import open_client

with open_client(Path("/run/spacedrive-node/control.sock")) as client:
    for line in sys.stdin:
        begun = [client.start_pairing() for _ in range(int(line))]
        outcomes = [one.state.outcome or "begun" for one in begun]
        print(sum(one.private_bytes for one in client.actors()), *outcomes, flush=True)
"""


def test_the_limits_of_the_unit_let_many_sessions_run_and_end_no_node(
    machine: SystemdMachine,
) -> None:
    """With no task left a session does not begin, and says so; later the next one does. What runs goes on."""
    shown = machine.show(UNIT)
    most_tasks, most_memory = int(shown["TasksMax"]), int(shown["MemoryMax"])
    program = ("/usr/lib/spacedrive-node/bin/python3", "-P", "-c", OPEN_SESSIONS)
    with machine.limited(UNIT, "pids") as group, machine.started(*program, user="spacedrive") as client:
        assert client.stdin is not None
        assert client.stdout is not None

        def begin(sessions: int) -> list[str]:
            """Return the bytes of all actors' own memory, and what has become of so many new sessions."""
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(f"{sessions}\n")
            client.stdin.flush()
            return client.stdout.readline().split()

        tasks, limit = group / "pids.current", group / "pids.max"
        limit.write_text(str(most_tasks))
        private_bytes, *outcomes = begin(SESSIONS)
        assert outcomes == ["begun"] * SESSIONS
        assert SESSIONS < int(tasks.read_text()) < most_tasks / 8
        assert int(private_bytes) < most_memory / 8
        limit.write_text("1")  # fewer than there are: none is ended, and none begins but in spares
        assert begin(3)[-1] == "crashed"
        limit.write_text(str(most_tasks))
        assert begin(1)[1:] == ["begun"]
    after = machine.show(UNIT)
    assert (after["ActiveState"], after["NRestarts"]) == ("active", "0")
    assert after["MainPID"] == shown["MainPID"]


def test_dpkg_stops_starts_and_forgets_it(machine: SystemdMachine) -> None:
    """An upgrade leaves it running anew, removing stops it, and purging leaves no link of it."""
    before = machine.show(UNIT)["MainPID"]
    machine.run("sh", "-c", "dpkg --install /var/tmp/spacedrive-node_*.deb")
    shown = machine.show(UNIT)
    assert shown["ActiveState"] == "active"
    assert shown["MainPID"] != before
    machine.run("systemctl", "disable", "--now", UNIT)
    machine.run("sh", "-c", "dpkg --install /var/tmp/spacedrive-node_*.deb")
    assert machine.run("systemctl", "is-enabled", UNIT, code=1) == "disabled\n", (
        "the administrator's word counts"
    )
    machine.run("dpkg", "--remove", "spacedrive-node")
    assert machine.show(UNIT)["ActiveState"] == "inactive"
    machine.run("dpkg", "--purge", "spacedrive-node")
    assert machine.run("find", "/etc/systemd", "/var/lib/systemd", "-name", "spacedrive-node*") == ""
