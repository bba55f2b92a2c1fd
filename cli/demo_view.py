"""What the demo shows: lines for people, or one JSON object per line."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import click

from ..messages.to_gateway import ActorInfo, Device
from .choose_node import print_json
from .errors import say
from .status import ACTOR_HEADER, actor_object, actor_rows
from .tables import size
from .views import STAGES, word_rows


@dataclass(frozen=True)
class Result:
    """How one pairing of the demo went; milliseconds from entering the words to the end on both sides."""

    number: int
    good: bool
    milliseconds: float
    fingerprint: str
    trouble: str


class DemoView(Protocol):
    """One way to show the demo."""

    def starting(self, server: str, names: Sequence[str]) -> None:
        """The nodes are being started."""

    def node(self, name: str, ready: dict[str, Any], pid: int) -> None:
        """A node is ready."""

    def words(self, words: str) -> None:
        """The first node shows a code."""

    def event(self, name: str, milliseconds: float, what: str) -> None:
        """Something happened on a node, counted from the moment at which the words were entered."""

    def tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        """The processes of a node in the middle of the pairing."""

    def devices(self, name: str, devices: Sequence[Device]) -> None:
        """What a node has stored in the end."""

    def result(self, result: Result) -> None:
        """One of several pairings has ended."""

    def summary(self, results: Sequence[Result]) -> None:
        """All pairings have ended."""

    def stopping(self) -> None:
        """The nodes are being stopped."""

    def stopped(self) -> None:
        """Nothing is left."""

    def trouble(self, text: str) -> None:
        """The demo could not be run."""


class JsonDemoView:
    """One object per line."""

    def starting(self, server: str, names: Sequence[str]) -> None:
        """Say nothing."""

    def node(self, name: str, ready: dict[str, Any], pid: int) -> None:
        """Print the node's own ready event, with its process id."""
        print_json({**ready, "event": "node", "node": name, "pid": pid})

    def words(self, words: str) -> None:
        """Print the words; they have no value beyond the demo."""
        print_json({"event": "code", "words": words})

    def event(self, name: str, milliseconds: float, what: str) -> None:
        """Print one entry of the timeline."""
        print_json({"event": "timeline", "node": name, "milliseconds": round(milliseconds, 1), "what": what})

    def tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        """Print the processes."""
        print_json({"event": "tree", "node": name, "actors": [actor_object(actor) for actor in actors]})

    def devices(self, name: str, devices: Sequence[Device]) -> None:
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

    def result(self, result: Result) -> None:
        """Print one result."""
        print_json(
            {
                "event": "result",
                "pair": result.number,
                "paired": result.good,
                "milliseconds": round(result.milliseconds, 1),
                "fingerprint": result.fingerprint,
                "message": result.trouble,
            }
        )

    def summary(self, results: Sequence[Result]) -> None:
        """Print the numbers."""
        good = [result.milliseconds for result in results if result.good]
        print_json(
            {
                "event": "summary",
                "pairs": len(results),
                "paired": len(good),
                "fingerprints_equal": len(good) == len(results),
                "median_milliseconds": round(statistics.median(good), 1) if good else None,
                "slowest_milliseconds": round(max(good), 1) if good else None,
            }
        )
        for result in results:
            if not result.good:
                say(f"pairing {result.number}: {result.trouble}")

    def stopping(self) -> None:
        """Say nothing."""

    def stopped(self) -> None:
        """Say nothing."""

    def trouble(self, text: str) -> None:
        """Say it on stderr."""
        say(text)


class TextDemoView:
    """Lines for people; coloured on a terminal."""

    def __init__(self) -> None:
        self._trees: dict[str, Sequence[ActorInfo]] = {}
        self._color = sys.stdout.isatty()

    def _line(self, text: str = "", **style: Any) -> None:
        click.echo(click.style(text, **style) if self._color and style else text)

    def starting(self, server: str, names: Sequence[str]) -> None:
        """Say what is about to happen."""
        others = names[0] if len(names) == 1 else f"{len(names)} phones"
        self._line(f"starting {len(names) + 1} nodes on this machine, {server} and {others} …")

    def node(self, name: str, ready: dict[str, Any], pid: int) -> None:
        """Show who the node is."""
        self._line(f"  {name:<9} {ready['peer_id']}  pid {pid}  {ready['addresses'][0]}")

    def words(self, words: str) -> None:
        """Show the code."""
        self._line("\ndesktop shows twelve words:")
        for row in word_rows(words):
            self._line(f"    {row}", bold=True)
        self._line("\nphone enters them, and finds desktop by a Kademlia lookup (milliseconds since then):")

    def event(self, name: str, milliseconds: float, what: str) -> None:
        """Show one entry of the timeline."""
        indent = "" if name == "desktop" else " " * 4
        text = STAGES.get(what, what)
        self._line(f"  {milliseconds:8.1f}  {indent}{name:<8} {text}", fg="cyan" if indent else "yellow")

    def tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        """Keep the tree for later, so that the timeline stays whole."""
        self._trees[name] = actors

    def devices(self, name: str, devices: Sequence[Device]) -> None:
        """Show what the node has stored; before it, its processes."""
        actors = self._trees.pop(name, None)
        if actors is not None:
            self._show_tree(name, actors)
        for device in devices:
            self._line(f"  stored   {device.name}, {device.state}, fingerprint {device.fingerprint}")

    def _show_tree(self, name: str, actors: Sequence[ActorInfo]) -> None:
        rows = actor_rows(actors)
        self._line(f"\n{name}, in the middle of the pairing: one process for each actor")
        shown = [0, 1, 2, 6, 7]
        widths = [max(len(row[column]) for row in (ACTOR_HEADER, *rows)) for column in shown]
        for row in (ACTOR_HEADER, *rows):
            cells = [row[column].ljust(width) for column, width in zip(shown, widths, strict=True)]
            self._line("  " + "  ".join(cells).rstrip())
        self._line(f"  private memory of all: {size(sum(actor.private_bytes for actor in actors))}")

    def result(self, result: Result) -> None:
        """Show one result of several."""
        if result.good:
            self._line(f"  pairing {result.number:>2}  {result.milliseconds:8.1f} ms  {result.fingerprint}")
        else:
            self._line(f"  pairing {result.number:>2}  failed: {result.trouble}", fg="red")

    def summary(self, results: Sequence[Result]) -> None:
        """Show how it went."""
        good = [result.milliseconds for result in results if result.good]
        self._line()
        if len(results) == 1 and good:
            text = f"paired in {good[0]:.0f} ms; fingerprint {results[0].fingerprint} on both sides"
            self._line(text, fg="green", bold=True)
        elif len(results) == 1:
            self._line(f"not paired: {results[0].trouble}", fg="red", bold=True)
        else:
            times = f"; median {statistics.median(good):.0f} ms, slowest {max(good):.0f} ms" if good else ""
            text = f"{len(good)} of {len(results)} paired with equal fingerprints{times}"
            self._line(text, fg="green" if len(good) == len(results) else "red", bold=True)

    def stopping(self) -> None:
        """Say that it ends."""
        self._line("stopping the nodes …")

    def stopped(self) -> None:
        """Say that nothing is left."""
        self._line("done; nothing is left behind")

    def trouble(self, text: str) -> None:
        """Say it on stderr."""
        say(text)
