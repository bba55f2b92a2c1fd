"""Whether the store can be used, and what others are told of it; tries again by itself when it cannot.

A disk that is full, a directory that is read-only or was moved away: each may be over in a moment, and
nobody should have to start the node again for it. Owns the readiness of the vault and the times at which it
looks. Never decides what an input gets for an answer.
"""

import math
import sqlite3

from ...messages.child_protocol import Log
from ...messages.to_gateway import Readiness
from ...messages.types import Instant
from ..base import Send, log_frame
from .database import DATABASE_FILE
from .device_store import DeviceStore

CHECK_INTERVAL_S = 2.0
"""How often the files are looked for, and, after a failure, how often the store is written to as a trial."""
_MAX_DETAIL_CHARACTERS = 200
STORE_GONE = "its data directory was removed or cannot be reached"
DEVICES_LOST = (
    f"{DATABASE_FILE} was missing or empty, but this device had paired with others: "
    "restore it from a backup, or pair again"
)


class StoreHealth:
    """Knows the last failure, if the store has not worked since."""

    def __init__(self, store: DeviceStore) -> None:
        self._store = store
        self._failure = ""
        self._next_check: Instant = -math.inf
        self._logs: list[Log] = []

    def wake_at(self) -> Instant:
        """Return when :meth:`tick` has something to do."""
        return self._next_check

    def tick(self, now: Instant) -> list[Send]:
        """Look whether the store can be used. Return what to send if that has changed.

        Raises StoreReplacedError.
        """
        if now < self._next_check:
            return []
        self._next_check = now + CHECK_INTERVAL_S
        try:
            if self._failure:
                self._store.try_to_write()
            else:
                self._store.files.check()
        except sqlite3.OperationalError as error:
            return self.report_failure(error)
        return self.report_success()

    def report_failure(self, error: sqlite3.OperationalError, sender: str = "vault") -> list[Send]:
        """The store could not be used, for `sender`. Return what to send: nothing, if it was sent before."""
        failure = f"the store cannot be written: {error}"[:_MAX_DETAIL_CHARACTERS]
        if failure == self._failure:
            return []
        self._failure = failure
        self._logs.append(log_frame("error", "store failed", {"detail": failure, "from": sender}))
        return readiness(False, failure)

    def report_success(self) -> list[Send]:
        """The store could be written, or its files are in their place. Return what to send."""
        failed, self._failure = self._failure, ""
        if failed:
            self._logs.append(log_frame("info", "store works again", {}))
        return readiness(True, "") if failed else []

    def take_logs(self) -> list[Log]:
        """Return the lines for the log that have come together since."""
        logs, self._logs = self._logs, []
        return logs


def readiness(ready: bool, detail: str) -> list[Send]:
    """Return the messages that say whether the vault is ready."""
    message = Readiness("vault", ready, detail)
    return [Send("gateway", message, slot=b"vault"), Send("metrics", message, slot=b"vault")]
