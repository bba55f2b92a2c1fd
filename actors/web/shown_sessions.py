"""The sessions as pages show them, and the QR code of each code that is shown for longer than a moment.

Owns when a QR code is drawn: a code is shown in words at once. Drawing takes some milliseconds, which a code
that a program hands on at once need not wait for. Holds a code as long as the node shows it, no longer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from ...messages.control_protocol import SessionState
from .live_state import MAX_SESSIONS, Body, LiveState
from .page_json import qr_path, session_body, without_clock

DRAWING_SECONDS = 0.3
"""After the words."""


@dataclass(slots=True, repr=False)
class _Code:
    """One code that is shown: its newest state, read at that time, and the QR code for that text. Secret."""

    state: SessionState
    read_at: float
    drawn: Body | None = None
    drawn_text: str | None = None

    @property
    def is_drawn(self) -> bool:
        return self.drawn is not None and self.drawn_text == self.state.qr


class ShownSessions:
    """Puts sessions into the live state; `draw_codes` is the task that adds the QR codes."""

    def __init__(self, live: LiveState, now: Callable[[], float]) -> None:
        self._live = live
        self._now = now
        self._codes: dict[str, _Code] = {}
        self._has_codes = trio.Event()

    def show(self, state: SessionState) -> None:
        """Show the newest state of a session."""
        read_at = self._now()
        if state.words is None:
            self._codes.pop(state.session, None)
            self._put(state, None, read_at)
            return
        code = self._codes.get(state.session)
        if code is None:
            if len(self._codes) >= MAX_SESSIONS:
                del self._codes[next(iter(self._codes))]
            code = self._codes[state.session] = _Code(state, read_at)
        code.state, code.read_at = state, read_at
        if not code.is_drawn:
            self._has_codes.set()
        self._put(state, code.drawn, read_at)

    def forget(self) -> None:
        """Show no session any more."""
        self._codes.clear()
        self._live.drop_sessions()

    async def draw_codes(self) -> None:
        """Draw the QR codes that are missing, until cancelled; one, and then others have their turn."""
        while True:
            await self._has_codes.wait()
            await trio.sleep(DRAWING_SECONDS)
            self._has_codes = trio.Event()
            for session in list(self._codes):
                code = self._codes.get(session)
                if code is None or code.is_drawn or code.state.words is None:
                    continue
                code.drawn, code.drawn_text = qr_path(code.state.qr, code.state.words), code.state.qr
                self._put(code.state, code.drawn, code.read_at)
                await trio.lowlevel.checkpoint()

    def _put(self, state: SessionState, qr: Body | None, read_at: float) -> None:
        body = session_body(state, qr, read_at, self._now)
        compared = without_clock(state), qr
        self._live.put_session(state.session, body, compared, ended=state.outcome is not None)
