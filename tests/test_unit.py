"""The systemd unit: what systemd says of it, and the node under what it restricts."""

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spacedrive_node.cli import exit_codes
from spacedrive_node.config.settings import SETTINGS
from spacedrive_node.tests.harness.nodes import free_port
from spacedrive_node.tests.harness.unit_restrictions import command, missing, service

ROOT = Path(__file__).parents[1]
SYSTEMD = ROOT / "deploy/systemd"
UNIT = SYSTEMD / "spacedrive-node.service"
MOST_EXPOSURE = 1.8


def analyze(*words: str) -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: THE UNIT IS NOT VERIFIED")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_takes_the_unit_without_a_remark(tmp_path):
    """A setting that it does not know would be ignored with a warning."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/sdnode", "/bin/true"))
    assert analyze("verify", str(unit)) == ""


def test_exposure():
    (level,) = re.findall(
        r"exposure level for \S+ (\d+\.\d)", analyze("security", "--offline=true", str(UNIT))
    )
    assert float(level) <= MOST_EXPOSURE


def test_only_what_a_restart_cannot_mend_is_not_restarted():
    """Of the exit codes (docs/interfaces.md), USAGE alone is for a person to change."""
    table = dict(
        re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/interfaces.md").read_text(), re.MULTILINE)
    )
    codes = {
        str(value) for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)
    }
    assert set(table) == codes
    settings = service(UNIT)
    assert settings["Restart"] == ["on-failure"]
    assert settings["RestartPreventExitStatus"] == [str(exit_codes.USAGE)]
    assert "usage" in table[str(exit_codes.USAGE)]


def test_a_reload_is_the_command_at_the_socket_of_the_unit():
    """Whose exit code is the verdict, which a signal would not have."""
    (start,), (reload,) = service(UNIT)["ExecStart"], service(UNIT)["ExecReload"]
    program, command, *node = reload.split()
    assert (program, command) == (start.split()[0], "reload")
    assert " ".join(node) in start


def test_a_start_that_is_refused_ends_with_that_code(tmp_path):
    """A passphrase that cannot be read, as when the credential is missing."""
    argv = [sys.executable, "-m", "spacedrive_node", "up", "--offline", "--data-dir", str(tmp_path)]
    argv += ["--passphrase-file", str(tmp_path / "none")]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == exit_codes.USAGE


@pytest.mark.parametrize("flag", ["--listen", "--metrics-listen"])
def test_a_start_that_may_succeed_later_ends_with_another_code(tmp_path, flag):
    """A port that is taken: systemd tries again."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        host, port = holder.getsockname()
        ports = {"--listen": f"/ip4/{host}/tcp/{free_port()}", "--metrics-listen": "off"}
        ports[flag] = f"/ip4/{host}/tcp/{port}" if flag == "--listen" else f"{host}:{port}"
        argv = [sys.executable, "-m", "spacedrive_node", "up", "--offline", "--data-dir", str(tmp_path)]
        argv += ["--control", str(tmp_path / "control"), *(word for pair in ports.items() for word in pair)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == exit_codes.LOST, done.stderr
    assert str(port) in done.stderr


def test_the_environment_file_names_settings():
    variables = re.findall(
        r"^#?(SDNODE_\w+)=", (SYSTEMD / "spacedrive-node.environment").read_text(), re.MULTILINE
    )
    assert variables
    assert set(variables) <= {setting.variable for setting in SETTINGS.values()}
    assert service(UNIT)["EnvironmentFile"] == ["-/etc/default/spacedrive-node"]


def test_the_user_is_the_one_that_sysusers_makes():
    (line,) = re.findall(r"^u .*", (SYSTEMD / "spacedrive-node.sysusers").read_text(), re.MULTILINE)
    assert service(UNIT)["User"] == service(UNIT)["Group"] == [line.split()[1]]


def test_the_sandbox_of_every_actor_is_whole_under_the_unit(tmp_path):
    """No step of it is refused."""
    if why := missing():
        pytest.skip(why)
    argv = [sys.executable, "-m", "spacedrive_node", "up", "--offline", "--json", "--lifeline"]
    argv += ["--data-dir", str(tmp_path / "data"), "--control", str(tmp_path / "control")]
    argv += ["--listen", f"/ip4/127.0.0.1/tcp/{free_port()}", "--metrics-listen", "off"]
    argv += ["--log-format", "json", "--log-level", "debug"]
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen(command(UNIT, argv), stdin=-1, stdout=-1, stderr=log, text=True) as process,
    ):
        first = process.stdout.readline()
        process.stdin.close()
        process.wait()
        log.seek(0)
        lines = log.read()
    assert json.loads(first or "{}").get("event") == "ready", lines
    sandboxes = [one for one in map(json.loads, lines.splitlines()) if one["event"] == "sandbox"]
    assert len(sandboxes) >= 5
    for one in sandboxes:
        assert "not permitted" not in json.dumps(one).lower(), one
