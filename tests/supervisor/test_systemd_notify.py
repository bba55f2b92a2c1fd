"""What systemd is told, over a real datagram socket: ready, the watchdog, stopping; with its own loop."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from spacedrive_node.supervisor.systemd_notify import ServiceManager
from spacedrive_node.tests.harness.nodes import free_port

DEADLINE_S = 60
WATCHDOG_S = 0.6
UNIT = Path(__file__).parents[2] / "deploy/systemd/spacedrive-node.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The service manager's socket, with its address as it stands in NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = str(tmp_path / "notify") if request.param == "path" else f"@spacedrive-test-{os.getpid()}"
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(DEADLINE_S)
        yield sock, name


def receive(sock, wanted):
    """Return the first datagram that holds this line, as lines, and those that came before."""
    before = []
    while True:
        lines = sock.recv(4096).decode().split("\n")
        if wanted in lines:
            return lines, before
        before.append(lines)


@pytest.fixture
def node_process(manager, tmp_path):
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": manager[1],
        "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    environment.pop("WATCHDOG_PID", None)
    files = ["--data-dir", str(tmp_path / "data"), "--control", str(tmp_path / "control")]
    network = ["--listen", f"/ip4/127.0.0.1/tcp/{free_port()}", "--metrics-listen", "off"]
    network.append("--no-mdns")
    with subprocess.Popen(
        [sys.executable, "-m", "spacedrive_node", "up", *files, *network],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_a_node_says_when_it_is_ready_that_it_runs_and_when_it_stops(manager, node_process):
    sock, _ = manager
    first = sock.recv(4096).decode()
    assert first == "STATUS=starting"
    ready, before = receive(sock, "READY=1")
    assert re.fullmatch(r"STATUS=ready, at /ip4/127\.0\.0\.1/tcp/\d+", ready[1])
    assert ["WATCHDOG=1"] in before  # its start is watched as well
    assert "ready" in node_process.stdout.readline()
    for _ in range(3):
        receive(sock, "WATCHDOG=1")
    node_process.send_signal(signal.SIGTERM)
    assert receive(sock, "STOPPING=1")[0] == ["STOPPING=1", "STATUS=stopping"]
    assert node_process.wait(DEADLINE_S) == 0


def test_the_status_follows_the_node(manager, node_process, tmp_path):
    """`systemctl status` does not say ready of a node that has lost its vault's files."""
    sock, _ = manager
    ready, _ = receive(sock, "READY=1")
    (tmp_path / "data").rename(tmp_path / "away")
    receive(sock, "STATUS=not ready: vault")
    (tmp_path / "away").rename(tmp_path / "data")
    assert receive(sock, ready[1])[0] == [ready[1]]


def test_a_supervisor_that_stands_still_sends_no_watchdog(manager, node_process):
    """Though all its actors run; and one that goes on sends it again."""
    sock, _ = manager
    receive(sock, "READY=1")
    node_process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, node_process.pid, os.WSTOPPED)
    sock.settimeout(0)
    while True:  # what it had sent before
        try:
            sock.recv(4096)
        except BlockingIOError:
            break
    sock.settimeout(2 * WATCHDOG_S)
    with pytest.raises(TimeoutError):
        sock.recv(4096)
    node_process.send_signal(signal.SIGCONT)
    sock.settimeout(DEADLINE_S)
    receive(sock, "WATCHDOG=1")


def test_a_reload_is_announced_and_then_over(manager, monkeypatch):
    """With the time by which systemd tells one from another (Type=notify-reload); not before READY=1."""
    sock, name = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    service_manager = ServiceManager()
    service_manager.reloading(True)
    service_manager.reloading(False)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service_manager.ready("ready")
    assert sock.recv(4096) == b"READY=1\nSTATUS=ready"
    service_manager.reloading(True)
    first, _, usec = sock.recv(4096).decode().partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(usec) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service_manager.reloading(False)
    assert sock.recv(4096) == b"READY=1\nSTATUS=ready"


async def test_without_a_service_manager_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with trio.fail_after(DEADLINE_S):
        await ServiceManager().run(trio.Event())


async def test_a_watchdog_for_another_process_is_not_served(monkeypatch, manager):
    sock, name = manager
    sock.settimeout(0)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    service_manager, stop = ServiceManager(), trio.Event()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)  # no child says ready
    stop.set()
    await service_manager.run(stop)
    assert [sock.recv(4096), sock.recv(4096)] == [b"STATUS=starting", b"STOPPING=1\nSTATUS=stopping"]


async def test_a_manager_that_is_gone_or_reads_nothing_costs_nothing(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "full"))
        for name in ("full", "missing"):
            monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / name))
            service_manager = ServiceManager()
            for _ in range(2000):
                service_manager.ready("status")


def test_the_unit_waits_for_ready_and_watches():
    lines = UNIT.read_text().splitlines()
    assert {"Type=notify", "NotifyAccess=main", "WatchdogSec=20", "Restart=on-failure"} <= set(lines)
