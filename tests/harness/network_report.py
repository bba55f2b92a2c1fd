"""Writes the results of the laboratory of networks as a document."""

import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from spacedrive_node.tests.harness.network_cells import Cell, PairingResult

Results = Sequence[tuple[Cell, Sequence[PairingResult]]]

HEAD = """# Networks

What `make test-net` has measured ([testing.md](testing.md), "Long runs"). Two new nodes in two places know
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


def report(results: Results) -> str:
    """Return the whole document."""
    lines = [HEAD, *_totals(results)]
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
    lines = ["| packets lost | cells | pairings | paired |", "|---|---|---|---|"]
    for loss in sorted({cell.loss_percent for cell, _ in results}):
        of_loss = [ones for cell, ones in results if cell.loss_percent == loss]
        tried, paired = sum(map(len, of_loss)), sum(one.is_paired for ones in of_loss for one in ones)
        lines.append(f"| {loss} % | {len(of_loss)} | {tried} | {paired} ({100 * paired / tried:.1f} %) |")
    loads = [one.load for _, ones in results for one in ones if one.load]
    if loads:
        load = statistics.median(loads)
        lines += ["", f"Load of the machine meanwhile, for each processor (median): {load:.1f}."]
        lines += ["Above 1 the times are the machine's rather than the network's."] if load > 1 else []
    return lines


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
