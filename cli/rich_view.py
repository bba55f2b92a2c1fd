"""The live view of a pairing on a terminal: words in a grid, QR code, one line with stage and countdown.

A module apart from views.py because it imports rich. Owns the live line, which must not
be on the screen while a question is answered.
"""

import io
import sys
import time

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from .errors import print_to_stderr
from .pairing_events import Event
from .prompts import write_question
from .views import STAGE_TEXTS, device_lines, failure_text, plain_lines, word_rows


class RichView:
    """Shows everything on stdout, which is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._stage = ""
        self._countdown_end: float | None = None
        self._is_connected = True
        self._spinner = Spinner("dots")
        self._live: Live | None = None

    def show(self, event: Event) -> None:
        """Show one event."""
        match event["event"]:
            case "code":
                self._show_code(event)
            case "stage":
                self._stage = event["stage"]
                if self._stage not in ("waiting", "searching"):
                    self._countdown_end = None
                self._start_live()
            case "confirm":
                self._stop_live()
                for line in device_lines(event):
                    self._print(line)
            case "paired":
                self._stop_live()
                first, *rest = plain_lines(event)
                self._console.print(Text(f"✓ {first}", style="bold green"))
                for line in rest:
                    self._print(line)
            case "failed":
                self._stop_live()
                print_to_stderr(failure_text(event))

    def _show_code(self, event: Event) -> None:
        drawn = qr_text(event, self._console.width, self._console.height)
        if drawn:
            self._print("Scan this with the other device, or enter the words below.")
            # It holds escape sequences, which rich would print as text.
            sys.stdout.write(drawn)
            sys.stdout.flush()
        else:
            self._print("Enter these words on the other device:")
        grid = Text("\n".join(word_rows(event["words"])), style="bold")
        self._console.print(Panel(grid, expand=False, padding=(0, 2)))
        if event["expires_in"]:
            self._countdown_end = time.monotonic() + event["expires_in"]

    def start_countdown(self, seconds: float) -> None:
        """Show the time that is left of a search of so many seconds."""
        self._countdown_end = time.monotonic() + seconds

    def show_question(self, question: str) -> None:
        """Show the question, in place of the live line."""
        self._stop_live()
        write_question(question)

    def question_answered(self) -> None:
        """Show the live line again."""
        self._start_live()

    def question_withdrawn(self) -> None:
        """Show the live line again, below the question."""
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
        text = STAGE_TEXTS.get(self._stage, self._stage) if self._is_connected else "reconnecting…"
        if self._countdown_end is not None:
            left = max(0, round(self._countdown_end - time.monotonic()))
            text += f"  {left // 60}:{left % 60:02d} left"
        self._spinner.update(text=Text(text))
        return self._spinner

    def _print(self, text: str) -> None:
        # As Text: what another device calls itself must not be read as markup.
        self._console.print(Text(text))


def qr_text(event: Event, width: int, height: int) -> str | None:
    """Return a QR code in half blocks for a terminal of so many columns and rows; None if it cannot show one.

    It holds everything that helps to find this device if that fits, else the words alone, which suffice.
    """
    import segno

    if not (sys.stdout.encoding or "ascii").lower().startswith("utf"):
        return None
    words_only = "spacedrive:pair?v=2&w=" + "-".join(event["words"].split())
    for payload in (event["qr"], words_only):
        if not payload:
            continue
        code = segno.make(payload, error="l", micro=False)
        columns, rows = code.symbol_size(border=1)
        if columns <= width and -(-rows // 2) < height:
            drawn = io.StringIO()
            code.terminal(drawn, compact=True, border=1)
            return drawn.getvalue()
    return None
