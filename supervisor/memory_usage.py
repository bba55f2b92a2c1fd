"""The memory of one process, as exactly as this process may know it. Reads /proc and nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path

from .spawner import Memory

_ROLLUP_BYTES = 4096
"""More than smaps_rollup ever has."""

memory_files: dict[int, int] = {}
"""By pid: descriptors of the smaps_rollup of children, which the children have opened themselves."""
_last_known: dict[int, Memory] = {}
"""Of the same processes, as last read."""


def forget_memory_file(pid: int) -> None:
    """Close the smaps_rollup of a process that has ended, if there is one."""
    _last_known.pop(pid, None)
    fd = memory_files.pop(pid, None)
    if fd is not None:
        os.close(fd)


def last_known_memory_of(pid: int) -> Memory:
    """Return the memory of a child as it was last read, which costs nothing; zeros if it never was."""
    return _last_known.get(pid, Memory())


def memory_of(pid: int) -> Memory:
    """Return the memory of a process; zeros when there is no such process.

    From smaps_rollup; of a process that cannot be dumped only root may open it, or the process itself.
    Without it from statm, which counts as shared only what is backed by files.
    """
    process = Path(f"/proc/{pid}")
    try:
        if pid in memory_files:
            rollup = os.pread(memory_files[pid], _ROLLUP_BYTES, 0).decode("ascii")
        else:
            rollup = (process / "smaps_rollup").read_text("ascii")
        sizes = dict(_sizes(rollup))
    except (OSError, ValueError):
        return _from_statm(process)
    memory = Memory(sizes.get("Rss:", 0), sizes.get("Private_Clean:", 0) + sizes.get("Private_Dirty:", 0))
    if pid in memory_files:
        _last_known[pid] = memory
    return memory


def _sizes(rollup: str) -> Iterator[tuple[str, int]]:
    for line in rollup.splitlines()[1:]:
        name, size, _unit = line.split()
        yield name, int(size) * 1024


def _from_statm(process: Path) -> Memory:
    try:
        _size, resident, shared, *_ = (process / "statm").read_text("ascii").split()
    except (OSError, ValueError):
        return Memory()
    page = os.sysconf("SC_PAGE_SIZE")
    return Memory(int(resident) * page, (int(resident) - int(shared)) * page)
