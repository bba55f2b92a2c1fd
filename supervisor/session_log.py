"""The lines of the log by which a pairing session can be followed through all actors.

Its id is in each of them, so one search for the id tells its story. Owns when it begins and ends, and at
level debug which messages are sent because of it: kind, sender and receiver, and what the sender shows of
them. Never looks into a message. docs/events.md, "Sessions".
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..messages.child_protocol import Step
from ..messages.session_names import is_session_actor, session_of_actor
from ..messages.types import LogField
from .child import Child
from .ledger import SUPERVISOR
from .ledger_effects import Retire, Spawn
from .log_budget import LogBudget

OnLog = Callable[[str, str, str, Mapping[str, LogField]], None]
"""Called with actor, level, event and fields."""
LogFor = Callable[[Child, LogBudget, str, str, Mapping[str, LogField]], None]
"""The same, for a line that a child pays for from one of its budgets."""


class SessionLog:
    """Writes them. `is_debug`: messages too, each of which costs a line."""

    def __init__(self, on_log: OnLog, log_for: LogFor, *, is_debug: bool) -> None:
        self._on_log = on_log
        self._log_for = log_for
        self.is_debug = is_debug
        self._began: dict[str, float] = {}

    def started(self, spawn: Spawn) -> None:
        """A session begins."""
        self._began[spawn.name] = time.monotonic()
        fields = {"session": session_of_actor(spawn.name), "role": spawn.role}
        with suppress(Exception):  # what cannot be written is lost, and nothing else
            self._on_log(SUPERVISOR, "info", "session started", fields)

    def ended(self, retire: Retire) -> None:
        """A session has ended."""
        lasted = time.monotonic() - self._began.pop(retire.name, time.monotonic())
        fields: dict[str, LogField] = {
            "session": session_of_actor(retire.name),
            "role": retire.role,
            "outcome": retire.outcome,
            "seconds": round(lasted, 3),
        }
        with suppress(Exception):
            self._on_log(SUPERVISOR, "info", "session ended", fields)

    def gone(self, name: str) -> None:
        """An actor is gone for good: a session that had not ended was stopped with the node."""
        if self._began.pop(name, None) is not None:
            with suppress(Exception):
                self._on_log(SUPERVISOR, "info", "session stopped", {"session": session_of_actor(name)})

    def sends(self, child: Child, step: Step) -> None:
        """A child wants these messages sent."""
        if not self.is_debug:
            return
        for out in step.out:
            note = out.note or {}
            session = _session_of(child.name) or _session_of(out.to) or note.get("session")
            if session is not None:
                fields = {**note, "session": session, "kind": out.kind, "to": out.to}
                self._log_for(child, child.message_budget, "debug", "message", fields)


def _session_of(actor: str) -> str | None:
    return session_of_actor(actor) if is_session_actor(actor) else None
