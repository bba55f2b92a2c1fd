"""Writes the results of the laboratory of networks as a document."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from spacedrive_node.tests.harness.network_cells import (
    ONE_HOME,
    PLACES,
    Cell,
    CellResults,
    PairingResult,
    all_cells,
)

Results = Sequence[tuple[Cell, Sequence[PairingResult]]]

WHY_RELAYED = """
What stays relayed: a symmetric NAT with another, or with one that lets in only the port that was sent to
(**cone**, and so **udp-blocked** and **double**), for neither side can know from which port the other's
packets will come; a port that the cone's router opens makes that pair direct
(tests/reachability/test_port_mapping.py). And a place without IPv4 with one that has nothing else: they have
no kind of address in common.
"""

HEAD = """# Networks

What `make test-net` has measured ([testing.md](testing.md), "Long runs"); each pairing is in
[networks/results.json](networks/results.json). Two new nodes in two places know
one DHT server and nothing else. One shows twelve words, the other joins with them, each in turn, and both
users accept at once. The server is a relay too, unless the relay is another implementation's.

Places: **public**, an address of the Internet; **fullcone**, **restricted**, **cone** (port-restricted) and
**symmetric** NATs (RFC 4787); **udp-blocked**, a cone that drops UDP; **double**, a cone behind the cone of a
carrier; **ipv6**, no IPv4, and a firewall that lets in answers only. **one-home**: both behind one cone, with
mDNS.

The round trip is the one between any two places, or a place and the server; between two places over the relay
it is twice as long. Each packet is lost with the same probability, each time that it crosses the wire. *At*:
the path at the confirmation; *after*: the path seconds later. *Time*: from `join` until both are paired, the
median; *trips*: the same in round trips, with the processor's time of both nodes in it.
"""


def summary(cell: Cell, results: Sequence[PairingResult]) -> str:
    """Return one line about a cell."""
    return f"{cell.name}: {' · '.join(_columns(cell, results))}"


def report(cells: Mapping[str, CellResults]) -> str:
    """Return the whole document, from what was measured of each cell, by its name."""
    results = [(cell, cells[cell.name].pairings) for cell in all_cells() if cell.name in cells]
    lines = [HEAD, *_totals(results), *_days(cells), *_ends(results)]
    by_wire = sorted(results, key=lambda one: (one[0].loss_percent, one[0].round_trip_ms))
    for (loss, round_trip), group in groupby(
        by_wire, lambda one: (one[0].loss_percent, one[0].round_trip_ms)
    ):
        lines += [
            "",
            f"## {round_trip} ms, {loss} % lost",
            "",
            "| places | paired | at | after | time | trips |",
        ]
        lines += ["|---|---|---|---|---|---|"]
        lines += [f"| {cell.places} | {' | '.join(_columns(cell, ones))} |" for cell, ones in group]
    return "\n".join(lines) + "\n"


def _totals(results: Results) -> list[str]:
    lines = ["| packets lost | cells of 123 | pairings | paired | load |", "|---|---|---|---|---|"]
    for loss in sorted({cell.loss_percent for cell, _ in results}):
        of_loss = [ones for cell, ones in results if cell.loss_percent == loss]
        tried, paired = sum(map(len, of_loss)), sum(one.is_paired for ones in of_loss for one in ones)
        loads = [one.load for ones in of_loss for one in ones if one.load]
        load = f"{statistics.median(loads):.1f}" if loads else "–"
        percent = f"{100 * paired / tried:.2f}".removesuffix("0")
        lines.append(f"| {loss} % | {len(of_loss)} | {tried} | {paired} ({percent} %) | {load} |")
    return lines


def _days(cells: Mapping[str, CellResults]) -> list[str]:
    if not (days := sorted({one.day for one in cells.values()})):
        return ["", "Nothing has been measured."]
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return [
        "",
        f"Measured {when}. *Load*: of the machine, for each processor (median); above 1 the times are the",
        "machine's rather than the network's.",
    ]


def _ends(results: Results) -> list[str]:
    """Return how each pair of places has ended, over every wire, as a square."""
    ends: dict[tuple[str, str], Counter[str]] = {}
    for cell, ones in results:
        if cell.relay or cell.one == ONE_HOME:
            continue
        paths = Counter(_end(one) for one in ones if one.is_paired)
        for pair in {(cell.one, cell.other), (cell.other, cell.one)}:
            ends[pair] = ends.get(pair, Counter()) + paths
    lines = ["", "## How each pair ends", ""]
    lines += [
        "What most pairings of a pair did, over all wires. *direct*: at the confirmation already. *later*:",
        "relayed at the confirmation, and direct seconds after. *relayed*: still relayed then.",
    ]
    lines += ["", f"| | {' | '.join(PLACES)} |", "|---" * (len(PLACES) + 1) + "|"]
    for one in PLACES:
        counts = [ends.get((one, other), Counter()) for other in PLACES]
        lines.append(f"| **{one}** | {' | '.join(max(n, key=n.__getitem__) if n else '' for n in counts)} |")
    return [*lines, *WHY_RELAYED.splitlines()]


def _end(result: PairingResult) -> str:
    return result.path if result.path == result.path_after else "later"


def _columns(cell: Cell, results: Sequence[PairingResult]) -> tuple[str, ...]:
    paired = [one for one in results if one.is_paired]
    failed = Counter(one.outcome for one in results if not one.is_paired)
    count = f"{len(paired)} of {len(results)}" + "".join(f", {n} {what}" for what, n in failed.items())
    if not paired:
        return count, "–", "–", "–", "–"
    seconds = statistics.median(one.seconds for one in paired)
    return (
        count,
        _paths([one.path for one in paired]),
        _paths([one.path_after for one in paired]),
        f"{seconds:.2f} s",
        f"{1000 * seconds / cell.round_trip_ms:.0f}",
    )


def _paths(paths: Sequence[str]) -> str:
    counts = Counter(paths).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{path} {n}" for path, n in counts)
