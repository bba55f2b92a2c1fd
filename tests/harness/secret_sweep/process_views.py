"""What the system shows of processes: arguments, environment, titles and status of process trees, sampled.

Owns a thread that takes a sample ten times a second, and more on request. Files that may not be read (of a
process that is not dumpable, unless root reads them) are skipped and named in `unreadable`.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NAMES = ("cmdline", "environ", "comm", "status", "stat")
PAUSE = 0.1


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def process_tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for one in found:
        found += [child for child in children(one) if child not in found]
    return found


class ProcessSampler:
    """Takes samples of some processes and their descendants while its context is open."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, bytes], str] = {}
        """(name of the file, its content or one line of it) → a process that had it."""
        self.pids: set[int] = set()
        self.unreadable: set[str] = set()
        self.rounds = 0
        self._roots: list[int] = []
        self._lock = threading.RLock()
        self._sampled = threading.Condition(self._lock)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "ProcessSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def add(self, pid: int) -> None:
        """Include a process and its descendants from now on."""
        self._roots.append(pid)
        self.sample()

    def sample(self) -> None:
        """Take a sample of all processes now."""
        with self._lock:
            self.rounds += 1
            for pid in [pid for root in list(self._roots) for pid in process_tree(root)]:
                self._read_process(pid)
            self._sampled.notify_all()

    def wait_until(self, seen: Callable[[], bool], seconds: float) -> bool:
        """Wait until a sample makes `seen` true. Return whether one did within `seconds`."""
        deadline = time.monotonic() + seconds
        with self._sampled:
            while not seen():
                if not self._sampled.wait(max(0.0, deadline - time.monotonic())):
                    return False
        return True

    def texts(self) -> list[tuple[str, bytes]]:
        """Return everything seen so far, as (name of its place, text)."""
        with self._lock:
            return [(f"{name} of process {pid}", text) for (name, text), pid in self.seen.items()]

    def _read_process(self, pid: int) -> None:
        base = Path(f"/proc/{pid}")
        for name in NAMES:
            try:
                content = (base / name).read_bytes()
            except PermissionError:
                self.unreadable.add(name)
                continue
            except OSError:
                continue  # it has just ended
            self.pids.add(pid)
            for line in content.splitlines() if name == "status" else (content,):
                self.seen.setdefault((name, line), str(pid))
        with suppress(OSError):
            for task in (base / "task").iterdir():
                with suppress(OSError):
                    self.seen.setdefault(("comm", (task / "comm").read_bytes()), str(pid))

    def _run(self) -> None:
        while not self._stopped.wait(PAUSE):
            self.sample()
