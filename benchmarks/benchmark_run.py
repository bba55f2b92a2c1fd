"""What every benchmark gets: a folder, a time budget, and a table for its figures. Also some statistics.

Every figure has an aim, or a figure of something else that was measured in the same run, or both.
"""

import math
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

_PROGRESS_INTERVAL_S = 5.0
"""Seconds between two lines of progress where there is no terminal."""

Run = Callable[["BenchmarkRun"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    aim      in the unit of the figure, or of the ratio if `of_ratio`. None: there is none
    beside   what the figure is compared with: its name, and its figure in the same unit. None: nothing
    """

    benchmark: str
    what: str
    figure: float
    unit: str
    aim: float | None = None
    at: Literal["most", "least"] = "most"
    beside: tuple[str, float] | None = None
    of_ratio: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure divided by the one that it is compared with."""
        return None if self.beside is None or not self.beside[1] else self.figure / self.beside[1]

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached. None: there is no aim, or nothing to compare with."""
        value = self.ratio if self.of_ratio else self.figure
        if self.aim is None or value is None or math.isnan(value):
            return None
        return value <= self.aim if self.at == "most" else value >= self.aim


@dataclass
class BenchmarkRun:
    """The run of one benchmark.

    bench_python  the interpreter of .venv-bench. None: there is none
    is_named      it is run for its own sake, or for the documents, and may take longer
    """

    name: str
    folder: Path
    long: bool
    bench_python: Path | None
    rows: list[Row] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_named: bool = False
    pace: float = 1.0
    """Share of the usual time that repeated measurements get. Below one: the run is late."""
    failed: bool = False
    _progress_at: float = 0.0

    def row(self, what: str, figure: float, unit: str, **more: Any) -> None:
        """Add a row to the table; Row has the fields."""
        self.rows.append(Row(self.name, what, figure, unit, **more))

    def note(self, text: str) -> None:
        """Add a note below the table: what was left out, and why."""
        self.notes.append(text)

    def folder_for(self, name: str) -> Path:
        """Return a new folder."""
        path = self.folder / name
        path.mkdir(mode=0o700)
        return path

    def progress(self, what: str, done: int = 0, of: int = 0) -> None:
        """Report progress: at once on a terminal, otherwise every few seconds."""
        text = f"{self.name}: {what}" + (f" {done} of {of}" if of else "")
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
        elif time.monotonic() - self._progress_at > _PROGRESS_INTERVAL_S or not done:
            sys.stderr.write(text + "\n")
            self._progress_at = time.monotonic()
        sys.stderr.flush()

    def repeat(self, what: str, most: int, seconds: float, least: int = 5) -> Iterator[int]:
        """Count to `most` and report progress. Stop early after `seconds`, but not before `least`."""
        until = time.monotonic() + seconds * self.pace
        for number in range(most):
            if number >= least and time.monotonic() > until:
                self.note(f"{what}: {number} of {most}, for want of time")
                return
            self.progress(what, number, most)
            yield number


def median(values: Sequence[float]) -> float:
    """Return the median, nan if there are no values."""
    return statistics.median(values) if values else math.nan


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all values do not exceed, nan if there are none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the statistics that are kept of many values."""
    return {
        "n": len(values),
        "median": median(values),
        "p95": quantile(values, 0.95),
        "least": min(values, default=math.nan),
        "most": max(values, default=math.nan),
    }


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables for the processes that are started inside.

    Removes those that configure a node, and the one that makes Python compile all modules at each start.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith("SDNODE_") or name == "PYTHONDONTWRITEBYTECODE":
            del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
