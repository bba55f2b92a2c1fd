"""Reads memory, processor time, descriptors and children of processes, and the machine, from /proc.

Needs no root. Of a process that is not dumpable (a sandboxed session) only root may read the exact memory.
Otherwise a rough figure is read, and marked as such.
"""

import os
import platform
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_ESTABLISHED = "01"
ROUGH = "far too much: exact for root only"
"""Note on figures that count pages shared with the fork server as private."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process in bytes. `exact` is False where only root could have read it.

    pss      its share: pages used by n processes count as one n-th
    private  pages that no other process uses
    """

    pss: int
    private: int
    exact: bool


def memory(pid: int) -> Memory:
    """Return the memory of a process. Raises ProcessLookupError."""
    folder = Path(f"/proc/{pid}")
    try:
        lines = (folder / "smaps_rollup").read_text("ascii").splitlines()[1:]
    except PermissionError:
        resident, shared = (int(word) * PAGE for word in (folder / "statm").read_text("ascii").split()[1:3])
        return Memory(resident - shared, resident - shared, exact=False)
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines}
    return Memory(sizes["Pss:"], sizes["Private_Clean:"] + sizes["Private_Dirty:"], exact=True)


def cpu(pid: int) -> float:
    """Return the processor time of a process in seconds: all its threads, without its ended children."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9


def cpu_of_children(pid: int) -> float:
    """Return the processor time in seconds of the ended children of a process, to 10 ms."""
    stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    user, system = stat.rpartition(")")[2].split()[13:15]  # cutime and cstime of proc(5)
    return (int(user) + int(system)) / _TICK


def cpu_of_all_children(pid: int, without: Collection[int]) -> float:
    """Return the processor time in seconds of the children of a process, ended or not, but of some."""
    while True:
        before = cpu_of_children(pid)
        running = 0.0
        for child in children(pid):
            with suppress(FileNotFoundError, ProcessLookupError):
                running += 0.0 if child in without else cpu(child)
        if cpu_of_children(pid) == before:  # otherwise one has ended meanwhile, and is in both
            return before + running


def descendants(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def children(pid: int) -> list[int]:
    """Return the children of a process, of all its threads."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(word) for task in tasks for word in (task / "children").read_text("ascii").split()]
    except FileNotFoundError:
        return []


def descriptors(pid: int) -> int:
    """Return the number of open descriptors of a process, -1 where it may not be read."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return -1


def connections_to(ports: Iterable[int]) -> int:
    """Return how many established TCP connections on IPv4 lead to one of these ports."""
    wanted = set(ports)
    return sum(remote in wanted for remote in _remote_ports())


def _remote_ports() -> Iterator[int]:
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _number, _local, remote, state, *_ = line.split()
        if state == _ESTABLISHED:
            yield int(remote.rpartition(":")[2], 16)


def description() -> dict[str, object]:
    """Return a description of the machine on which the figures are measured."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * PAGE / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "root": os.geteuid() == 0,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
