"""Processor time of the node's processes, and what the supervisor's own process uses.

Why the readings need a memory: a process takes its times with it when it ends. Owns the sums by kind of
actor. Never looks up another process in /proc: there a process that cannot be dumped is invisible under
ProtectProc=invisible of the unit (proc(5), hidepid). Its clock stays readable.
"""

import os
import resource
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..messages.to_metrics import Sample

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_GRAIN_S = 0.1
"""Times are rounded down to it, so that an idle node has nothing new to report."""
_CUTIME, _START_TIME, _VIRTUAL_SIZE = 13, 19, 20
"""Fields of /proc/PID/stat behind the name of the program (proc(5))."""


_BOOT_TIME_S = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
"""When the machine was started: read once, or it would differ a little each time."""
_STAT_BYTES = 4096
"""More than /proc/PID/stat ever has."""

stat_files: dict[int, int] = {}
"""By pid: the descriptor of the fork server's /proc/PID/stat, which it has opened itself."""


def forget_stat_file(pid: int) -> None:
    """Close the stat of a fork server that has ended, if there is one."""
    fd = stat_files.pop(pid, None)
    if fd is not None:
        os.close(fd)


def _stat(pid: int) -> list[int]:
    """Return the numbers behind name and state; nothing when there is no such process."""
    try:
        if pid in stat_files:
            text = os.pread(stat_files[pid], _STAT_BYTES, 0).decode("ascii", "replace")
        else:
            text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return []
    _state, *numbers = text.rpartition(")")[2].split()
    return [0, *map(int, numbers)]


def _used(pid: int) -> float | None:
    """Return the processor time of a process in seconds, by its clock; None when there is no such process."""
    clock = ~pid << 3 | 2  # clock_getcpuclockid(3), which Python has for threads only: CPUCLOCK_SCHED
    try:
        return time.clock_gettime(clock)
    except OSError:
        return None


class ProcessorTimes:
    """Adds up what all processes of each kind have used, ended ones included.

    What a process used between the last reading and its end is known from the fork server, which has waited
    for it, but not of which kind it was. It is counted for `session`: no other kind ends as a rule.
    """

    def __init__(self) -> None:
        self._totals: defaultdict[str, float] = defaultdict(float)
        self._read: dict[int, float] = {}
        self._fork_server = (0, 0.0)
        """Pid, and the time of the children that it has waited for."""

    def read(self, fork_server: int, processes: Mapping[int, str]) -> None:
        """Read the times of all that run; `processes` are the kinds by pid, the fork server's included."""
        present: dict[int, float] = {}
        for pid, kind in processes.items():
            if (used := _used(pid)) is not None:
                before = self._read.get(pid, 0.0)
                self._totals[kind] += used - before if used >= before else used
                present[pid] = used
        children = _stat(fork_server) if fork_server else []
        if children:
            waited = sum(children[_CUTIME : _CUTIME + 2]) / _TICKS_PER_S
            last_pid, last_waited = self._fork_server
            ended = sum(used for pid, used in self._read.items() if pid not in present)
            if last_pid == fork_server:
                self._totals["session"] += max(waited - last_waited - ended, 0.0)
            self._fork_server = (fork_server, waited)
        self._read = present

    def samples(self) -> list[Sample]:
        """Return the sums, rounded."""
        return [Sample("actor_cpu_seconds_total", (kind,), _round(s)) for kind, s in self._totals.items()]


def own_process(resident: int) -> list[Sample]:
    """Return the usual metrics of a process, of this one; `resident` is its resident memory in bytes."""
    stat = _stat(os.getpid())
    times = os.times()
    values = {
        "process_cpu_seconds_total": _round(times.user + times.system),
        "process_resident_memory_bytes": float(resident),
        "process_max_fds": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    if stat:
        values["process_virtual_memory_bytes"] = float(stat[_VIRTUAL_SIZE])
        values["process_start_time_seconds"] = round(_BOOT_TIME_S + stat[_START_TIME] / _TICKS_PER_S, 2)
    with suppress(OSError):
        values["process_open_fds"] = float(len(os.listdir("/proc/self/fd")) - 1)  # without the one that reads
    return [Sample(name, (), value) for name, value in values.items()]  # type: ignore[arg-type]


def _round(seconds: float) -> float:
    return round(seconds // _GRAIN_S * _GRAIN_S, 1)
