"""The memory of one process, as exactly as this one may know it. Reads /proc and nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path

from .spawner import Memory

_ROLLUP = 4096
"""Bytes: more than smaps_rollup ever has."""

accounts: dict[int, int] = {}
"""Descriptors of the smaps_rollup of children, which they have opened themselves, by pid."""


def forget_account(pid: int) -> None:
    """Close the account of a process that is over, if there is one."""
    account = accounts.pop(pid, None)
    if account is not None:
        os.close(account)


def memory_of(pid: int) -> Memory:
    """Return the memory of a process; zeros when there is none.

    From smaps_rollup, which only root may open of a process that cannot be dumped, or the process itself;
    else from statm, which counts as shared only what is backed by files.
    """
    process = Path(f"/proc/{pid}")
    try:
        if pid in accounts:
            rollup = os.pread(accounts[pid], _ROLLUP, 0).decode("ascii")
        else:
            rollup = (process / "smaps_rollup").read_text("ascii")
        sizes = dict(_sizes(rollup))
    except (OSError, ValueError):
        return _from_statm(process)
    return Memory(sizes.get("Rss:", 0), sizes.get("Private_Clean:", 0) + sizes.get("Private_Dirty:", 0))


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
