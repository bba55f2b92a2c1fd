"""What the system shows of processes: arguments, environment, titles and status of whole trees, sampled.

Owns a thread that looks again and again until it is stopped, and looks at once when it is told to. What may
not be read (a process that cannot be dumped, of another user than root) is left out; `refused` says so.
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


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for one in found:
        found += [child for child in children(one) if child not in found]
    return found


class Watcher:
    """Looks at some processes and their descendants. A context; at its end it looks for the last time."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, bytes], str] = {}
        """(name of the file, its content or one line of it) → a process that showed it."""
        self.pids: set[int] = set()
        self.refused: set[str] = set()
        self.rounds = 0
        self._roots: list[int] = []
        self._lock = threading.RLock()
        self._looked = threading.Condition(self._lock)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def add(self, pid: int) -> None:
        """Look at this process too, from now on."""
        self._roots.append(pid)
        self.look()

    def look(self) -> None:
        """Look at all of them, now."""
        with self._lock:
            self.rounds += 1
            for pid in [pid for root in list(self._roots) for pid in tree(root)]:
                self._look_at(pid)
            self._looked.notify_all()

    def until(self, seen: Callable[[], bool], seconds: float) -> bool:
        """Wait until it has seen that by itself; say whether it has."""
        deadline = time.monotonic() + seconds
        with self._looked:
            while not seen():
                if not self._looked.wait(max(0.0, deadline - time.monotonic())):
                    return False
        return True

    def texts(self) -> list[tuple[str, bytes]]:
        """Return all that was ever seen, with the name of its place."""
        with self._lock:
            return [(f"{name} of process {pid}", text) for (name, text), pid in self.seen.items()]

    def _look_at(self, pid: int) -> None:
        base = Path(f"/proc/{pid}")
        for name in NAMES:
            try:
                content = (base / name).read_bytes()
            except PermissionError:
                self.refused.add(name)
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

    def _watch(self) -> None:
        while not self._over.wait(PAUSE):
            self.look()
