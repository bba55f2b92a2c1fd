"""What a pairing shows: JSON lines, plain lines, or a live terminal (rich_view.py).

A view gets the events of pairing_events.py in order and decides nothing.
"""

import sys
from typing import Protocol

import click

from .choose_node import print_json
from .errors import say
from .pairing_events import Event, key_mark
from .prompts import show_question

STAGES = {
    "waiting": "waiting for the other device",
    "searching": "searching for the other device",
    "connecting": "connecting",
    "proving": "proving that both know the words",
    "deciding": "waiting for both sides to accept",
    "storing": "storing",
}


class View(Protocol):
    """One way to show a pairing."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def ask(self, question: str) -> None:
        """Show a question whose answer is about to be read."""

    def answered(self) -> None:
        """The question was answered."""

    def withdrawn(self) -> None:
        """The question is moot, nobody needs to answer it."""

    def connected(self, up: bool) -> None:
        """The connection with the node went (False) or is back (True)."""

    def note(self, text: str) -> None:
        """Show a remark."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class JsonView:
    """One object per line on stdout."""

    def show(self, event: Event) -> None:
        """Print the event as it is."""
        print_json(event)

    def ask(self, question: str) -> None:
        """Say nothing: the `confirm` event is the question."""

    def answered(self) -> None:
        """Say nothing."""

    def withdrawn(self) -> None:
        """Say nothing."""

    def connected(self, up: bool) -> None:
        """Say nothing: no event is lost."""

    def note(self, text: str) -> None:
        """Keep stdout for events."""
        say(text)

    def close(self) -> None:
        """Do nothing."""


class PlainView:
    """Lines for people where there is no terminal: a log, a pipe."""

    def show(self, event: Event) -> None:
        """Print the event in words."""
        for line in plain_lines(event):
            click.echo(line)
        if event["event"] == "failed":
            say(f"not paired ({event['outcome'].replace('_', ' ')}): {event['message']}")

    def ask(self, question: str) -> None:
        """Print the question."""
        show_question(question)

    def answered(self) -> None:
        """End the line of the question, unless the terminal's echo of the answer has done so."""
        if not sys.stdin.isatty():
            click.echo()

    def withdrawn(self) -> None:
        """End the line of the question."""
        click.echo()

    def connected(self, up: bool) -> None:
        """Say that the node is away, or back."""
        say("connected again" if up else "the node does not answer, reconnecting…")

    def note(self, text: str) -> None:
        """Print the remark to stderr."""
        say(text)

    def close(self) -> None:
        """Do nothing."""
        sys.stdout.flush()


def word_rows(words: str) -> list[str]:
    """Return twelve numbered words as four rows of three columns, to be read down."""
    cells = [f"{number:>2} {word:<9}" for number, word in enumerate(words.split(), 1)]
    rows = -(-len(cells) // 3)
    return ["   ".join(cells[start::rows]).rstrip() for start in range(rows)]


def plain_lines(event: Event) -> list[str]:
    """Return what people read of one event, without any decoration."""
    match event["event"]:
        case "code":
            lines = [
                "enter these words on the other device:",
                *(f"  {row}" for row in word_rows(event["words"])),
            ]
            if event["expires_in"]:
                lines.append(f"they work once, within {duration(event['expires_in'])}")
            return lines
        case "stage":
            stage: str = event["stage"]
            return [STAGES.get(stage, stage)]
        case "confirm":
            return device_lines(event)
        case "paired":
            device = event["device"]
            took = f" in {event['seconds']:.1f} s" if event["seconds"] is not None else ""
            path = f", {event['path']}" if event["path"] else ""
            name = device["name"] if device else "the other device"
            return [
                f"paired with {name}{took}{path}",
                f"  fingerprint {event['fingerprint']} (the other device shows the same)",
            ]
    return []


def device_lines(event: Event) -> list[str]:
    """Return who it is that wants to be trusted."""
    device = event["device"]
    rows = [
        ("device", device["name"]),
        ("system", device["os"] or "unknown"),
        ("key", key_mark(device["id"])),
    ]
    return ["this device knows the words:", *(f"  {left:<7} {right}" for left, right in rows)]


def duration(seconds: float) -> str:
    """Return a time for people."""
    whole = max(0, round(seconds))
    return f"{whole // 60} min" if whole >= 60 and whole % 60 == 0 else f"{whole // 60}:{whole % 60:02d} min"
