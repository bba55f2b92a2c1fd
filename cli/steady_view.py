"""A view that no output error gets through: a pairing goes on although nobody can see how.

The terminal may have gone away, the disk behind stdout may be full. Only a code that cannot be shown is worth
an error, for nobody can enter it. Owns what is said of such an error, once, on stderr. Never decides what is
shown.
"""

import errno
import sys
from collections.abc import Callable

from . import exit_codes
from .errors import CommandError, print_to_stderr
from .output import discard_stdout, stdout_is_closed
from .pairing_events import Event
from .views import View


class SteadyView:
    """Another view, whose errors end nothing."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._has_failed = stdout_is_closed()

    def show(self, event: Event) -> None:
        """Show one event. Raises CommandError if it is the code and cannot be shown."""
        if event["event"] != "code":
            self._attempt(lambda: self._view.show(event))
            return
        try:
            self._view.show(event)
        except (OSError, ValueError) as error:
            self._has_failed = True
            raise CommandError(
                f"the words cannot be shown ({_reason(error)}), so nobody can enter them: cancelled",
                exit_codes.INTERNAL,
            ) from None

    def show_question(self, question: str) -> None:
        """Show a question; on stderr too if stdout has failed."""
        self._attempt(lambda: self._view.show_question(question))
        if self._has_failed:
            print_to_stderr(question)

    def question_answered(self) -> None:
        """Go on: the question was answered."""
        self._attempt(self._view.question_answered)

    def question_withdrawn(self) -> None:
        """Go on: the question needs no answer any more."""
        self._attempt(self._view.question_withdrawn)

    def connection_changed(self, is_connected: bool) -> None:
        """Show that the connection with the node is lost or was made again."""
        self._attempt(lambda: self._view.connection_changed(is_connected))

    def show_remark(self, text: str) -> None:
        """Show a remark that is not an event."""
        self._attempt(lambda: self._view.show_remark(text))

    def suspend(self) -> None:
        """Leave the terminal to others for a while."""
        self._attempt(self._view.suspend)

    def resume(self) -> None:
        """Show again what `suspend` has taken away."""
        self._attempt(self._view.resume)

    def close(self) -> None:
        """Leave the terminal as it was, and stdout without anything that would fail at exit."""
        self._attempt(self._view.close)
        try:
            sys.stdout.flush()
        except (OSError, ValueError) as error:
            self._note(error)
            discard_stdout()

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._note(error)

    def _note(self, error: Exception) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        if not (isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.EIO)):
            print_to_stderr(f"the output cannot be written ({_reason(error)}); the pairing goes on")


def _reason(error: Exception) -> str:
    return f"{error.strerror}" if isinstance(error, OSError) else "it is closed"
