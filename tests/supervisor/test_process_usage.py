"""Processor time by kind of actor, with real processes."""

import os
import subprocess
import sys
from pathlib import Path

from spacedrive_node.supervisor import process_usage
from spacedrive_node.supervisor.process_usage import ProcessorTimes, own_process

_BUSY = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\nimport sys\nsys.stdin.read()"


def test_the_time_of_a_process_counts_once_whatever_kind_it_becomes() -> None:
    """A spare that becomes a session keeps its process: what it used before is not counted again."""
    times = ProcessorTimes()
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        times.read(0, {process.pid: "spare"})
        times.read(0, {process.pid: "session"})
        values = {sample.labels[0]: sample.value for sample in times.samples()}
        process.stdin.close()
    assert values["spare"] >= 0.4
    assert values["session"] <= 0.1


def test_the_time_is_known_where_proc_hides_the_process(monkeypatch) -> None:
    """ProtectProc=invisible hides an actor, which is not dumpable, from its own user too."""
    monkeypatch.setattr(process_usage, "Path", lambda _: Path("/nonexistent"))
    times = ProcessorTimes()
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        times.read(0, {process.pid: "vault"})
        process.stdin.close()
    assert [sample.value >= 0.4 for sample in times.samples()] == [True]


def test_what_ended_between_two_readings_counts_for_sessions() -> None:
    """The one that waited for it knows; what was read before is not counted again."""
    times = ProcessorTimes()
    times.read(os.getpid(), {os.getpid(): "zygote"})
    subprocess.run([sys.executable, "-c", _BUSY], input=b"\n", stdout=subprocess.DEVNULL, check=True)
    times.read(os.getpid(), {os.getpid(): "zygote"})
    values = {sample.labels[0]: sample.value for sample in times.samples()}
    assert 0.4 <= values["session"] < 30
    before = values["session"]
    times.read(os.getpid(), {os.getpid(): "zygote"})
    assert {sample.labels[0]: sample.value for sample in times.samples()}["session"] == before


def test_the_usual_metrics_of_the_own_process() -> None:
    values = {sample.name: sample.value for sample in own_process(4096)}
    assert len(values) == 6
    assert all(value > 0 for value in values.values())
