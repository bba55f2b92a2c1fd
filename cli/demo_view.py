"""What the demo shows: the DemoView protocol, as lines for people and as one JSON object per line.

A view shows what demo_run.py reports, and decides nothing.
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import click

from ..messages.to_gateway import ActorInfo, Device
from .actors import ACTOR_HEADER, actor_object, actor_rows
from .errors import print_to_stderr
from .json_output import print_json
from .output import terminal_columns, write_line
from .tables import size_text
from .text_layout import record_lines, table_lines, wrapped
from .views import STAGE_TEXTS, columns_that_fit, word_rows

_TREE_COLUMNS = ([0, 1, 2, 6, 7], [0, 1, 7], [0, 7])
"""Of the table of actors: as many as fit."""


@dataclass(frozen=True)
class PairingResult:
    """How one pairing of the demo went; milliseconds from entering the words to the end on both sides."""

    number: int
    paired: bool
    milliseconds: float
    fingerprint: str
    problem: str
    """Why they are not paired; empty when they are."""


class DemoView(Protocol):
    """A way to show the demo."""

    def starting(self, server: str, names: Sequence[str]) -> None:
        """The nodes are being started."""

    def node_ready(self, name: str, ready: dict[str, Any], pid: int) -> None:
        """A node is ready."""

    def code_shown(self, words: str) -> None:
        """The first node shows a code of these words."""

    def timeline(self, name: str, milliseconds: float, what: str) -> None:
        """Something happened on a node, so many milliseconds after the words were entered."""

    def process_tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        """The processes of a node in the middle of the pairing."""

    def stored_devices(self, name: str, devices: Sequence[Device]) -> None:
        """The devices that a node has stored in the end."""

    def result(self, result: PairingResult) -> None:
        """One of several pairings has ended."""

    def summary(self, results: Sequence[PairingResult]) -> None:
        """All pairings have ended."""

    def stopping(self) -> None:
        """The nodes are being stopped."""

    def stopped(self) -> None:
        """Nothing is left."""

    def failed(self, text: str) -> None:
        """The demo could not be run."""


class JsonDemoView:
    """One object per line."""

    def starting(self, server: str, names: Sequence[str]) -> None:
        """Print nothing."""

    def node_ready(self, name: str, ready: dict[str, Any], pid: int) -> None:
        """Print the ready line of the node, with its process id."""
        print_json({**ready, "event": "node", "node": name, "pid": pid})

    def code_shown(self, words: str) -> None:
        """Print the words; they have no value beyond the demo."""
        print_json({"event": "code", "words": words})

    def timeline(self, name: str, milliseconds: float, what: str) -> None:
        """Print one entry of the timeline."""
        print_json({"event": "timeline", "node": name, "milliseconds": round(milliseconds, 1), "what": what})

    def process_tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        """Print the processes."""
        print_json({"event": "tree", "node": name, "actors": [actor_object(actor) for actor in actors]})

    def stored_devices(self, name: str, devices: Sequence[Device]) -> None:
        """Print what is stored."""
        for device in devices:
            print_json(
                {
                    "event": "stored",
                    "node": name,
                    "device": device.name,
                    "state": device.state,
                    "fingerprint": device.fingerprint,
                }
            )

    def result(self, result: PairingResult) -> None:
        """Print one result."""
        print_json(
            {
                "event": "result",
                "pair": result.number,
                "paired": result.paired,
                "milliseconds": round(result.milliseconds, 1),
                "fingerprint": result.fingerprint,
                "message": result.problem,
            }
        )

    def summary(self, results: Sequence[PairingResult]) -> None:
        """Print the figures, and to stderr why a pairing failed."""
        durations = [result.milliseconds for result in results if result.paired]
        print_json(
            {
                "event": "summary",
                "pairs": len(results),
                "paired": len(durations),
                "fingerprints_equal": len(durations) == len(results),
                "median_milliseconds": round(statistics.median(durations), 1) if durations else None,
                "slowest_milliseconds": round(max(durations), 1) if durations else None,
            }
        )
        for result in results:
            if not result.paired:
                print_to_stderr(f"pairing {result.number}: {result.problem}")

    def stopping(self) -> None:
        """Print nothing."""

    def stopped(self) -> None:
        """Print nothing."""

    def failed(self, text: str) -> None:
        """Print it to stderr."""
        print_to_stderr(text)


class TextDemoView:
    """Lines for people; coloured on a terminal."""

    def __init__(self) -> None:
        self._trees: dict[str, Sequence[ActorInfo]] = {}
        self._color = sys.stdout.isatty()

    def _line(self, text: str = "", hanging: str | None = None, **style: Any) -> None:
        for paragraph in text.split("\n"):
            for line in wrapped(paragraph, terminal_columns(), hanging):
                write_line(click.style(line, **style) if self._color and style else line)

    def starting(self, server: str, names: Sequence[str]) -> None:
        """Print what is about to happen."""
        others = names[0] if len(names) == 1 else f"{len(names)} phones"
        self._line(f"starting {len(names) + 1} nodes on this machine, {server} and {others} …")

    def node_ready(self, name: str, ready: dict[str, Any], pid: int) -> None:
        """Show the id, process and address of the node."""
        self._line(f"  {name:<9} {ready['peer_id']}  pid {pid}  {ready['addresses'][0]}", " " * 4)

    def code_shown(self, words: str) -> None:
        """Show the code."""
        self._line("\ndesktop shows twelve words:")
        for row in word_rows(words, columns_that_fit((terminal_columns() or 80) - 4)):
            self._line(f"    {row}", bold=True)
        self._line("\nphone enters them, and finds desktop by a Kademlia lookup (milliseconds since then):")

    def timeline(self, name: str, milliseconds: float, what: str) -> None:
        """Show one entry of the timeline."""
        indent = "" if name == "desktop" else " " * 4
        text = STAGE_TEXTS.get(what, what)
        self._line(f"  {milliseconds:8.1f}  {indent}{name:<8} {text}", fg="cyan" if indent else "yellow")

    def process_tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        """Keep the tree for later, so that it does not interrupt the timeline."""
        self._trees[name] = actors

    def stored_devices(self, name: str, devices: Sequence[Device]) -> None:
        """Show the processes that the node had in the middle of the pairing, and what it has stored."""
        actors = self._trees.pop(name, None)
        if actors is not None:
            self._show_tree(name, actors)
        for device in devices:
            self._line(f"  stored   {device.name}, {device.state}, fingerprint {device.fingerprint}")

    def _show_tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        rows = [ACTOR_HEADER, *actor_rows(actors)]
        self._line(f"\n{name}, in the middle of the pairing: one process for each actor")
        columns = terminal_columns()
        room = None if columns is None else columns - 2
        for shown in _TREE_COLUMNS:
            header, *others = ([row[column] for column in shown] for row in rows)
            if lines := table_lines(header, others, (), room):
                break
        for line in lines or record_lines(header, others, room or 0):
            self._line("  " + line)
        self._line(f"  private memory of all: {size_text(sum(actor.private_bytes for actor in actors))}")

    def result(self, result: PairingResult) -> None:
        """Show one result of several."""
        if result.paired:
            self._line(f"  pairing {result.number:>2}  {result.milliseconds:8.1f} ms  {result.fingerprint}")
        else:
            self._line(f"  pairing {result.number:>2}  failed: {result.problem}", fg="red")

    def summary(self, results: Sequence[PairingResult]) -> None:
        """Show how many paired, and how fast."""
        durations = [result.milliseconds for result in results if result.paired]
        self._line()
        if len(results) == 1 and durations:
            text = f"paired in {durations[0]:.0f} ms; fingerprint {results[0].fingerprint} on both sides"
            self._line(text, fg="green", bold=True)
        elif len(results) == 1:
            self._line(f"not paired: {results[0].problem}", fg="red", bold=True)
        else:
            times = (
                f"; median {statistics.median(durations):.0f} ms, slowest {max(durations):.0f} ms"
                if durations
                else ""
            )
            text = f"{len(durations)} of {len(results)} paired with equal fingerprints{times}"
            self._line(text, fg="green" if len(durations) == len(results) else "red", bold=True)

    def stopping(self) -> None:
        """Print that it ends."""
        self._line("stopping the nodes …")

    def stopped(self) -> None:
        """Print that nothing is left."""
        self._line("done; nothing is left behind")

    def failed(self, text: str) -> None:
        """Print it to stderr."""
        print_to_stderr(text)
