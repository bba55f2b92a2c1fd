"""What comes back how long after a network does: the clock of one interruption, and the document of all.

A test notes what it has seen as properties of itself, which pytest carries to the process that writes.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

What = Literal["goes on", "reserved", "found"]
PROPERTY = "interruption"

HEAD = """# Interruptions

What `make interruptions` has measured ([testing.md](testing.md), "Long runs"). Two devices behind NATs pair,
and something is gone for {away:.0f} s. The clock begins when it is back: before the command that puts a cable
in, when a relay or the name server says that it is ready, before the processes of a laptop go on.

- **goes on**: until the pairing that was under way is complete on both sides; both users accept at once.
  Where the words were entered meanwhile, until both see the other device.
- **reserved**: until the node announces circuits through its relays again, if it has ceased to.
- **found**: until a third device, behind a symmetric NAT and with nothing but the words of a code that was
  shown all the time, has found the node and both have proved that they know them. It begins to look when the
  network is back.

The median and the slowest of so many. A dash: not tried, or nothing to see.
"""


@dataclass(frozen=True)
class Measured:
    """One gap, in seconds after the return."""

    interruption: str
    what: What
    seconds: float


class Return:
    """Begins when something is back."""

    def __init__(self, interruption: str, record: Callable[[str, object], None]) -> None:
        self._interruption = interruption
        self._record = record
        self._began = time.monotonic()

    def note(self, what: What) -> None:
        """Note that this is so from now on."""
        seconds = round(time.monotonic() - self._began, 2)
        print(f"{self._interruption}: {what} after {seconds:.2f} s")
        self._record(PROPERTY, (self._interruption, what, seconds))


def report(measured: Iterable[Measured], away_s: float) -> str:
    """Return the document; its rows are in the order in which they were measured."""
    by_name: dict[str, dict[What, list[float]]] = {}
    for one in measured:
        by_name.setdefault(one.interruption, {}).setdefault(one.what, []).append(one.seconds)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    lines = [
        HEAD.format(away=away_s),
        "| gone | times | goes on | reserved | found |",
        "|---|---|---|---|---|",
    ]
    for name, gaps in by_name.items():
        runs = max(map(len, gaps.values()))
        columns = [_column(gaps.get(what, ())) for what in get_args(What)]
        lines.append(f"| {name} | {runs} | {' | '.join(columns)} |")
    lines += ["", f"Load of the machine at the end, for each processor: {load:.1f}."]
    return "\n".join(lines) + "\n"


def _column(gaps: Sequence[float]) -> str:
    return f"{statistics.median(gaps):.1f} s, {max(gaps):.1f} s" if gaps else "–"
