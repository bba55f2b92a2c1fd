"""The live view of a pairing on a terminal: words in a grid, QR code, one line with stage and countdown."""

import io
import sys
import time

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from .errors import say
from .pairing_events import Event
from .prompts import show_question
from .views import STAGES, device_lines, plain_lines, word_rows


class TerminalView:
    """Shows everything on stdout, which is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._stage = ""
        self._until: float | None = None
        self._up = True
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
                    self._until = None
                self._start()
            case "confirm":
                self._stop()
                for line in device_lines(event):
                    self._print(line)
            case "paired":
                self._stop()
                first, *rest = plain_lines(event)
                self._console.print(Text(f"✓ {first}", style="bold green"))
                for line in rest:
                    self._print(line)
            case "failed":
                self._stop()
                say(f"not paired ({event['outcome'].replace('_', ' ')}): {event['message']}")

    def _show_code(self, event: Event) -> None:
        drawn = qr_text(event, self._console.width, self._console.height)
        if drawn:
            self._print("Scan this with the other device, or enter the words below.")
            # Escape sequences of its own, which rich would take for text.
            sys.stdout.write(drawn)
            sys.stdout.flush()
        else:
            self._print("Enter these words on the other device:")
        grid = Text("\n".join(word_rows(event["words"])), style="bold")
        self._console.print(Panel(grid, expand=False, padding=(0, 2)))
        if event["expires_in"]:
            self._until = time.monotonic() + event["expires_in"]

    def countdown(self, seconds: float) -> None:
        """Show the time that is left of a search."""
        self._until = time.monotonic() + seconds

    def ask(self, question: str) -> None:
        """Show the question."""
        self._stop()
        show_question(question)

    def answered(self) -> None:
        """Go on."""
        self._start()

    def withdrawn(self) -> None:
        """Go on below the question."""
        self._print("")
        self._start()

    def connected(self, up: bool) -> None:
        """Say so in the live line."""
        self._up = up
        if not up and self._live is None:
            say("the node does not answer, reconnecting…")

    def note(self, text: str) -> None:
        """Show a remark above the live line."""
        self._print(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def _start(self) -> None:
        if self._live is None and self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._line, refresh_per_second=8, transient=True
            )
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self) -> RenderableType:
        text = STAGES.get(self._stage, self._stage) if self._up else "reconnecting…"
        if self._until is not None:
            left = max(0, round(self._until - time.monotonic()))
            text += f"  {left // 60}:{left % 60:02d} left"
        self._spinner.update(text=Text(text))
        return self._spinner

    def _print(self, text: str) -> None:
        # As Text: what another device calls itself must not be read as markup.
        self._console.print(Text(text))


def qr_text(event: Event, width: int, height: int) -> str | None:
    """Return a QR code in half blocks, or None when the terminal is too small or cannot show it.

    The whole payload if it fits, else the words alone, which are all that is needed.
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
