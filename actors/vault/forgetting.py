"""Forgets devices, and ends the pairings with them that are under way.

A session that has begun before its device was forgotten could store it again a moment later. So the store
keeps, while sessions run, which devices were forgotten and when: what was signed before is not stored any
more, and the sessions are told. A session that is told and goes on all the same stores nothing. Implements
docs/protocol.md, "Settling". Runs within the caller's transaction, but for :meth:`Forgetting.clear`. Never
decides what a session does when it is told.
"""

import sqlite3
from contextlib import suppress

from ...messages.session_names import actor_of_session
from ...messages.to_session import DeviceForgotten
from ..base import Send
from .device_store import DeviceStore
from .session_evidence import SessionEvidence


class Forgetting:
    """Forgets devices of the store; the evidence says which sessions run and when they have signed."""

    def __init__(self, store: DeviceStore, evidence: SessionEvidence) -> None:
        self._store = store
        self._evidence = evidence

    def forget(self, device_id: bytes) -> tuple[bytes, ...] | None:
        """Delete all records of a device. Return the peers that they belonged to, None if there was none."""
        peers = self._store.delete_device(device_id)
        if peers is None:
            return None
        if self._evidence.any_running():
            self._store.record_forgetting(device_id)
        return tuple(peers)

    def has_ended(self, session: str, device_id: bytes) -> bool:
        """Return whether a device was forgotten after this session had begun to sign."""
        return self._store.was_forgotten_since(device_id, self._evidence.signed_after(session))

    def session_updates(self, device_id: bytes) -> list[Send]:
        """Return what tells the sessions that a pairing with this device is over: only those that it ends.

        A client may repeat its request long afterwards, when the devices pair again.
        """
        return [
            Send(actor_of_session(session), DeviceForgotten(device_id))
            for session in self._evidence.sessions_that_signed()
            if self.has_ended(session, device_id)
        ]

    def clear(self) -> None:
        """If no session runs, nothing that was signed earlier can be stored: delete the ids that are kept."""
        if not self._evidence.any_running() and self._store.any_forgotten():
            with suppress(sqlite3.OperationalError), self._store.transaction():
                self._store.clear_forgotten()
