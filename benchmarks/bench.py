"""What every benchmark is given: a folder, a clock to keep to, a place for its figures; and how to sum up.

A figure is never alone: it has an aim, or something that was measured beside it in the same run, or both.
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

_TELL_EVERY = 5.0
"""Seconds between two lines of progress where there is no terminal."""

Run = Callable[["Bench"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    aim      in the unit of the figure, or of the ratio when `of_ratio`; None: there is none
    beside   what it is compared with: its name and its figure in the same unit; None: nothing
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
        """The figure over the one beside it."""
        return None if self.beside is None or not self.beside[1] else self.figure / self.beside[1]

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None: there is none, or nothing to compare with."""
        value = self.ratio if self.of_ratio else self.figure
        if self.aim is None or value is None or math.isnan(value):
            return None
        return value <= self.aim if self.at == "most" else value >= self.aim


@dataclass
class Bench:
    """The run of one benchmark. `python_beside`: the interpreter of .venv-bench, None: there is none."""

    name: str
    folder: Path
    long: bool
    python_beside: Path | None
    rows: list[Row] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pace: float = 1.0
    """Below one: the run is late, and what repeats itself gets so much of its time."""
    failed: bool = False
    _told: float = 0.0

    def row(self, what: str, figure: float, unit: str, **more: Any) -> None:
        """Add a line to the table (Row has the fields)."""
        self.rows.append(Row(self.name, what, figure, unit, **more))

    def note(self, text: str) -> None:
        """Say under the table what was left out, and why."""
        self.notes.append(text)

    def folder_for(self, name: str) -> Path:
        """Return a new folder."""
        path = self.folder / name
        path.mkdir(mode=0o700)
        return path

    def progress(self, what: str, done: int = 0, of: int = 0) -> None:
        """Say how far it is: at once on a terminal, else now and then."""
        text = f"{self.name}: {what}" + (f" {done} of {of}" if of else "")
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
        elif time.monotonic() - self._told > _TELL_EVERY or not done:
            sys.stderr.write(text + "\n")
            self._told = time.monotonic()
        sys.stderr.flush()

    def times(self, what: str, most: int, seconds: float, least: int = 5) -> Iterator[int]:
        """Count to `most`, telling how far; stop early when `seconds` are over and `least` have been done."""
        until = time.monotonic() + seconds * self.pace
        for number in range(most):
            if number >= least and time.monotonic() > until:
                self.note(f"{what}: {number} of {most}, for want of time")
                return
            self.progress(what, number, most)
            yield number


def median(values: Sequence[float]) -> float:
    """Return the median; nan of nothing."""
    return statistics.median(values) if values else math.nan


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of all does not exceed; nan of nothing."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return what is kept of many values."""
    return {
        "n": len(values),
        "median": median(values),
        "p95": quantile(values, 0.95),
        "least": min(values, default=math.nan),
        "most": max(values, default=math.nan),
    }


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Have the processes that are started inside inherit these variables.

    They inherit none that configures a node, nor the one by which Python compiles all modules at each start.
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
