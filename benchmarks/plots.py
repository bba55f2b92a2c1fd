"""Draw the plots of a run: `plots.py FIGURES.JSON FOLDER`, in .venv-bench.

One SVG for each. Their bytes follow from the figures alone.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "spacedrive-node",
        "svg.fonttype": "none",
        "figure.figsize": (7.5, 4.0),
        "figure.constrained_layout.use": True,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9,
    }
)

import matplotlib.pyplot as plt  # noqa: E402 - after the choice of its backend

Figures = dict[str, Any]
_FAMILIES = ("clients", "supervisor", "start", "session", "vault", "discovery", "swarms")
_COLOURS = dict(zip(_FAMILIES, plt.get_cmap("tab10").colors, strict=False))


def path(found: Figures, axes: Any) -> None:
    """Draw the path of one pairing: a bar for each stretch, in the row of the process that it is spent in."""
    parts = found["pairing"]["data"]["path"]
    rows = list(dict.fromkeys(part["where"] for part in parts))
    for part in parts:
        axes.barh(
            rows.index(part["where"]),
            part["ms"],
            left=part["at_ms"],
            color=_colour(part["where"]),
            height=0.7,
        )
    totals = [sum(part["ms"] for part in parts if part["where"] == row) for row in rows]
    axes.set_yticks(
        range(len(rows)), [f"{row}  {total:.1f} ms" for row, total in zip(rows, totals, strict=True)]
    )
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds from join")
    axes.set_title("What one pairing waits for: A shows the code, B joins")


def _colour(where: str) -> Any:
    return _COLOURS.get(where.split()[0], "grey")


def pairings(found: Figures, axes: Any) -> None:
    """Draw the distribution of the pairings and of what stands beside them."""
    samples = found["pairing"]["data"]["samples"]
    names = {
        "bare": "bare libp2p: connect + request",
        "bare_exchanges": "bare libp2p: connect + 4 requests",
        "connected": "pairing, a connection exists",
        "fresh": "pairing, a new connection",
        "wormhole": "magic-wormhole, a text",
    }
    for key, name in names.items():
        values = sorted(1000 * value for value in samples.get(key, ()))
        if values:
            axes.plot(values, [100 * (n + 1) / len(values) for n in range(len(values))], label=name)
    axes.axvline(100, color="grey", linestyle=":", label="aim for the median")
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("% done by then")
    axes.set_title("From join to both paired, warm processes on one host")
    axes.legend()


def processor(found: Figures, axes: Any) -> None:
    """Draw the processor time of one pairing by process."""
    used = found["pairing"]["data"]["cpu_ms_per_pairing"]
    kinds = list(dict.fromkeys(name.rpartition(" ")[0] for name in used))
    left = [0.0] * len(kinds)
    for side, name in (("A", "shows the code"), ("B", "joins")):
        widths = [used.get(f"{kind} {side}", 0.0) for kind in kinds]
        axes.barh(kinds, widths, left=left, label=f"{side}, which {name}")
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds of processor time")
    axes.set_title("Processor time of one pairing")
    axes.legend()


def sessions(found: Figures, axes: Any) -> None:
    """Draw the latency against the number of other sessions."""
    rows = found["load"]["data"]["beside_sessions"]
    numbers = [row["sessions"] for row in rows]
    for name, label in (("median", "median"), ("p95", "95th percentile")):
        axes.plot(numbers, [1000 * row["seconds"][name] for row in rows], marker="o", label=label)
    axes.set_xscale("log")
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("other sessions open on the node that shows the code")
    axes.set_ylabel("milliseconds")
    axes.set_title("From join to both paired, beside other sessions")
    axes.legend()


def rates(found: Figures, axes: Any) -> None:
    """Draw how many pairings a second are done, and how long each takes, with so many at once."""
    rows = found["load"]["data"]["rates"]
    numbers = [row["at_once"] for row in rows]
    axes.plot(numbers, [row["per_second"] for row in rows], marker="o", color="C0")
    axes.set_ylim(0, 1.1 * max(row["per_second"] for row in rows))
    axes.set_xticks(numbers)
    axes.set_xlabel("pairings at once")
    axes.set_ylabel("pairings a second", color="C0")
    other = axes.twinx()
    other.plot(numbers, [1000 * row["seconds"]["median"] for row in rows], marker="s", color="C1")
    other.set_ylim(bottom=0)
    other.set_ylabel("median of each, milliseconds", color="C1")
    other.grid(False)
    axes.set_title("Pairings at once, both nodes on one machine")


def in_a_row(found: Figures, axes: Any) -> None:
    """Draw memory and descriptors of both nodes over many pairings."""
    looks = found["load"]["data"]["in_a_row"]["looks"]
    numbers = [look["pairings"] for look in looks]
    axes.plot(numbers, [look["private_mib"] for look in looks], color="C0")
    axes.set_ylim(0, 1.1 * max(look["private_mib"] for look in looks))
    axes.set_xlabel("pairings so far")
    axes.set_ylabel("private memory without sessions, MiB", color="C0")
    other = axes.twinx()
    other.plot(numbers, [look["descriptors"] for look in looks], color="C1")
    other.set_ylim(0, 1.5 * max(look["descriptors"] for look in looks))
    other.set_ylabel("descriptors, sessions that end included", color="C1")
    other.grid(False)
    axes.set_title("Pairings one after another, both nodes together")


def memory(found: Figures, axes: Any) -> None:
    """Draw the memory of an idle node by process."""
    rows = found["node"]["data"]["memory_mib"]
    names = list(rows)
    axes.barh(names, [rows[name]["pss"] for name in names], label="proportional (PSS)", height=0.7)
    axes.barh(names, [rows[name]["private"] for name in names], label="private", height=0.35)
    axes.invert_yaxis()
    axes.set_xlabel("MiB")
    axes.set_title(f"An idle node: {sum(row['pss'] for row in rows.values()):.0f} MiB")
    axes.legend()


def lookups(found: Figures, axes: Any) -> None:
    """Draw the time of lookups in networks of several sizes, beside the library's own."""
    rows = found["discovery"]["data"]["networks"]
    names = [f"{row['servers']}" + ("" if row["harm"] == "none" else f"\n20 % {row['harm']}") for row in rows]
    kinds = (("library", "seconds", "KadDHT looks up"), ("find", "seconds", "looked up"),
             ("announce", "first", "announced to the first"))  # fmt: skip
    for place, (kind, key, label) in enumerate(kinds):
        heights = [
            _middle([1000 * one[key] for one in row[kind] if one.get(key) is not None]) for row in rows
        ]
        axes.bar([n + 0.27 * (place - 1) for n in range(len(rows))], heights, 0.27, label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), names)
    axes.set_xlabel("DHT servers on this machine")
    axes.set_ylabel("milliseconds, median")
    axes.set_title("Announcing and looking up a code; KadDHT gives up after 10 s")
    axes.legend()


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else float("nan")


PLOTS: dict[str, tuple[str, Callable[[Figures, Any], None]]] = {
    "path": ("pairing", path),
    "pairings": ("pairing", pairings),
    "processor": ("pairing", processor),
    "sessions": ("load", sessions),
    "rates": ("load", rates),
    "in-a-row": ("load", in_a_row),
    "memory": ("node", memory),
    "lookups": ("discovery", lookups),
}


def main() -> None:
    """Draw each plot whose benchmark has run."""
    figures, folder = Path(sys.argv[1]), Path(sys.argv[2])
    found = json.loads(figures.read_text())
    for name, (benchmark, draw) in PLOTS.items():
        if benchmark not in found:
            continue
        figure, axes = plt.subplots()
        try:
            draw(found, axes)
        except KeyError as missing:
            sys.stderr.write(f"{name}.svg is not drawn: the run has no {missing}\n")
        else:
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
