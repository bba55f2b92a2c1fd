"""How a pairing is shown: the View protocol, as JSON lines, and as plain lines; rich_view.py is the third.

A view gets the events of pairing_events.py in order. Owns the texts that people read of an event. Never
decides anything.
"""

import sys
from typing import Protocol

from .errors import print_to_stderr
from .json_output import print_json
from .output import printable, write_line
from .pairing_events import Event, grouped_id
from .prompts import write_question

STAGE_TEXTS = {
    "waiting": "waiting for the other device",
    "searching": "searching for the other device",
    "connecting": "connecting",
    "proving": "proving that both know the words",
    "deciding": "waiting for both sides to accept",
    "storing": "storing",
}


_MAX_COLUMNS = 3
_LONGEST_WORD = 8
_GAP = "   "


class View(Protocol):
    """A way to show a pairing."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def show_question(self, question: str) -> None:
        """Show a question whose answer is about to be read."""

    def question_answered(self) -> None:
        """Go on: the question was answered."""

    def question_withdrawn(self) -> None:
        """Go on: the question needs no answer any more."""

    def connection_changed(self, is_connected: bool) -> None:
        """Show that the connection with the node is lost or was made again."""

    def show_remark(self, text: str) -> None:
        """Show a remark that is not an event."""

    def suspend(self) -> None:
        """Leave the terminal to others for a while: the process is about to be stopped."""

    def resume(self) -> None:
        """Show again what `suspend` has taken away: the process goes on."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class JsonView:
    """One object per line on stdout."""

    def show(self, event: Event) -> None:
        """Print the event as it is."""
        print_json(event)

    def show_question(self, question: str) -> None:
        """Print nothing: the `confirm` event is the question."""

    def question_answered(self) -> None:
        """Print nothing."""

    def question_withdrawn(self) -> None:
        """Print nothing."""

    def connection_changed(self, is_connected: bool) -> None:
        """Print nothing: no event is lost."""

    def show_remark(self, text: str) -> None:
        """Print the remark to stderr: stdout is for events."""
        print_to_stderr(text)

    def suspend(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainView:
    """Lines for people where there is no terminal: a log, a pipe."""

    def show(self, event: Event) -> None:
        """Print the event in words; in one write, so that a reader has seen all of a code or nothing."""
        lines = plain_lines(event)
        if lines:
            write_line("\n".join(map(printable, lines)))
        if event["event"] == "failed":
            print_to_stderr(failure_text(event))

    def show_question(self, question: str) -> None:
        """Print the question."""
        write_question(printable(question))

    def question_answered(self) -> None:
        """End the line of the question, unless the terminal's echo of the answer has done so."""
        if not sys.stdin.isatty():
            write_line("")

    def question_withdrawn(self) -> None:
        """End the line of the question."""
        write_line("")

    def connection_changed(self, is_connected: bool) -> None:
        """Print to stderr that the node is away, or back."""
        print_to_stderr("connected again" if is_connected else "the node does not answer, reconnecting…")

    def show_remark(self, text: str) -> None:
        """Print the remark to stderr."""
        print_to_stderr(text)

    def suspend(self) -> None:
        """Do nothing: lines stay where they are."""

    def resume(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Write what is still in a buffer."""
        sys.stdout.flush()


def word_rows(words: str, columns: int = _MAX_COLUMNS) -> list[str]:
    """Return numbered words in rows of so many columns, to be read across."""
    cells = [f"{number:>2} {word:<{_LONGEST_WORD}}" for number, word in enumerate(words.split(), 1)]
    return [_GAP.join(cells[at : at + columns]).rstrip() for at in range(0, len(cells), columns)]


def columns_that_fit(width: int) -> int:
    """Return in how many columns words can stand in so many columns of a terminal: one at least."""
    cell = len("12 ") + _LONGEST_WORD
    return max(1, min(_MAX_COLUMNS, (width + len(_GAP)) // (cell + len(_GAP))))


def plain_lines(event: Event) -> list[str]:
    """Return what people read of one event, without any decoration."""
    match event["event"]:
        case "code":
            lines = [
                "enter these words on the other device:",
                *(f"  {row}" for row in word_rows(event["words"])),
            ]
            if event["expires_in"]:
                lines.append(lifetime_text(event))
            return lines
        case "stage":
            stage: str = event["stage"]
            return [STAGE_TEXTS.get(stage, stage)]
        case "confirm":
            return device_lines(event)
        case "paired":
            device = event["device"]
            took = f" in {event['seconds']:.1f} s" if event["seconds"] is not None else ""
            path = f", {event['path']} over {_transport_text(event)}" if event["path"] else ""
            name = device["name"] if device else "the other device"
            return [
                f"paired with {name}{took}{path}",
                f"  fingerprint {event['fingerprint']} (the other device shows the same)",
            ]
    return []


def _transport_text(event: Event) -> str:
    transport = str(event["transport"])
    return {"ws": "WebSocket", "wss": "WebSocket and TLS"}.get(transport, transport.upper())


def failure_text(event: Event) -> str:
    """Return what people read of a `failed` event."""
    return f"not paired ({event['outcome'].replace('_', ' ')}): {printable(event['message'])}"


def device_lines(event: Event) -> list[str]:
    """Return what people read of the device that wants to be trusted."""
    device = event["device"]
    rows = [
        ("device", device["name"]),
        ("system", device["os"] or "unknown"),
        ("key", grouped_id(device["id"])),
    ]
    return ["this device knows the words:", *(f"  {left:<7} {right}" for left, right in rows)]


def lifetime_text(event: Event) -> str:
    """Return how long a code that is shown may be used."""
    return f"they work once, within {duration_text(event['expires_in'])}"


def duration_text(seconds: float) -> str:
    """Return a time of minutes and seconds for people."""
    rounded = max(0, round(seconds))
    if rounded >= 60 and rounded % 60 == 0:
        return f"{rounded // 60} min"
    return f"{rounded // 60}:{rounded % 60:02d} min"
