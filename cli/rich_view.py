"""The live view of a pairing on a terminal: the code, and one line with stage and countdown.

A module apart from views.py because it imports rich. Owns the live line, which must not
be on the screen while a question is answered.
"""

import sys
import time
from typing import TextIO, cast

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from .code_layout import code_lines
from .errors import print_to_stderr
from .output import TolerantStream, is_unicode, shown, terminal_columns
from .pairing_events import Event
from .prompts import write_question
from .public_network import NOT_FOUND_ELSEWHERE
from .text_layout import wrapped
from .views import STAGE_TEXTS, device_lines, failure_text, lifetime_text, plain_lines


class RichView:
    """Shows everything on stdout, which is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        # A thread of rich draws the live line: an error there would be a traceback in the middle of it.
        self._console = console or Console(highlight=False, file=cast(TextIO, TolerantStream(sys.stdout)))
        self._stage = ""
        self._countdown_end: float | None = None
        self._is_connected = True
        self._spinner = Spinner("dots" if is_unicode(sys.stdout) else "line")
        self._live: Live | None = None
        self._question: str | None = None
        self._is_suspended = False
        self._had_live = False

    def show(self, event: Event) -> None:
        """Show one event."""
        match event["event"]:
            case "code":
                self._show_code(event)
            case "stage":
                self._stage = event["stage"]
                if self._stage not in ("waiting", "searching"):
                    self._countdown_end = None
                if self._console.is_dumb_terminal:  # on which no line can be drawn anew
                    self._print(STAGE_TEXTS.get(self._stage, self._stage))
                self._start_live()
            case "confirm":
                self._stop_live()
                for line in device_lines(event):
                    self._print(line)
            case "paired":
                self._stop_live()
                first, *rest = plain_lines(event)
                mark = "✓ " if is_unicode(sys.stdout) else ""
                self._print(mark + first, style="bold green")
                for line in rest:
                    self._print(line)
            case "failed":
                self._stop_live()
                print_to_stderr(failure_text(event))
                if event["outcome"] == "not_found":
                    print_to_stderr(NOT_FOUND_ELSEWHERE)

    def _show_code(self, event: Event) -> None:
        plain = self._console.is_dumb_terminal or not is_unicode(sys.stdout)
        lines = code_lines(event, self._width, self._console.height, plain=plain)
        # They hold escape sequences, which rich would print as text.
        self._console.file.write("\n".join(lines) + "\n")
        self._console.file.flush()
        if event["expires_in"]:
            self._countdown_end = time.monotonic() + event["expires_in"]
            if self._console.is_dumb_terminal:
                self._print(lifetime_text(event))

    @property
    def _width(self) -> int:
        """Columns of the terminal; rich takes a dumb one for 80 wide, however wide it is."""
        return terminal_columns() or self._console.width

    def start_countdown(self, seconds: float) -> None:
        """Show the time that is left of a search of so many seconds."""
        self._countdown_end = time.monotonic() + seconds

    def show_question(self, question: str) -> None:
        """Show the question, in place of the live line."""
        self._stop_live()
        # The answer is typed behind it, in the same line.
        self._question = "\n".join(wrapped(shown(question), self._width - len("yes"))) + " "
        write_question(self._question)

    def question_answered(self) -> None:
        """Show the live line again."""
        self._question = None
        self._start_live()

    def question_withdrawn(self) -> None:
        """Show the live line again, below the question."""
        self._question = None
        self._print("")
        self._start_live()

    def connection_changed(self, is_connected: bool) -> None:
        """Show it in the live line, or, while there is none, a lost connection on stderr."""
        self._is_connected = is_connected
        if not is_connected and self._live is None:
            print_to_stderr("the node does not answer, reconnecting…")

    def show_remark(self, text: str) -> None:
        """Show a remark above the live line."""
        self._print(text)

    def suspend(self) -> None:
        """Take the live line away and show the cursor, for the shell that comes to the fore."""
        self._had_live = self._live is not None
        self._is_suspended = True
        self._stop_live()

    def resume(self) -> None:
        """Show the live line or the question again, wherever the cursor now is."""
        if not self._is_suspended:
            if self._live is not None:  # stopped without notice: the screen may have been used meanwhile
                self._stop_live()
                self._start_live()
            return
        self._is_suspended = False
        if self._had_live:
            self._start_live()
        elif self._question is not None:
            write_question(self._question)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._stop_live()

    def _start_live(self) -> None:
        if self._live is None and self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._live_line, refresh_per_second=8, transient=True
            )
            self._live.start()

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _live_line(self) -> RenderableType:
        text = STAGE_TEXTS.get(self._stage, self._stage) if self._is_connected else "reconnecting …"
        if self._countdown_end is not None:
            left = max(0, round(self._countdown_end - time.monotonic()))
            text += f"  {left // 60}:{left % 60:02d} left"
        self._spinner.update(text=Text(text))
        return self._spinner

    def _print(self, text: str, style: str = "") -> None:
        for line in wrapped(shown(text), self._width):
            # As Text: what another device calls itself must not be read as markup.
            self._console.print(Text(line, style=style), soft_wrap=True)
