"""Chooses which record of a device is in use, and what the swarm must know of a peer.

Pairing again with a device makes one more record of it. A device can have one record that is `paired`,
which is the one in use; `unconfirmed` ones, which wait for the peer's acknowledgement; and `replaced` ones,
which are kept only to answer repeats. Both sides compute the same order of their pairings
(protocol/pairing_clock.py), so both choose the same record, however their pairings overlap. Implements
docs/protocol.md, "Settling" and "Which pairing is in use". Runs within the caller's transaction. Never
decides whether a device may be trusted.
"""

from collections.abc import Callable, Iterable

from ...messages.to_swarm import ForgetPeer, KnownPeer
from ..base import Send
from .device_record import Record
from .device_store import DeviceStore
from .session_evidence import SessionEvidence


class RecordsInUse:
    """Chooses among the records of each device. `unix_time` returns the present."""

    def __init__(self, store: DeviceStore, evidence: SessionEvidence, unix_time: Callable[[], float]) -> None:
        self._store = store
        self._evidence = evidence
        self._unix_time = unix_time

    def complete(self, record: Record) -> tuple[bytes, ...]:
        """Complete an acknowledged pairing and choose the record of its device that is in use.

        Returns the peers of which the swarm must be told (:meth:`peer_updates`).
        """
        former = next(iter(self._store.records_of_device(record.device_id, "paired")), None)
        at = self._unix_time()
        self._store.mark_complete(record.generation, at)
        if former is None:
            self._store.put_in_use(record, at)
            return peers_of(record)
        if _rank(record) > _rank(former):
            self._store.put_in_use(record, at)
        return peers_of(record, former)

    def take_back(self, record: Record) -> None:
        """Delete a record as if it had never been stored: what it took the place of is in use again."""
        self._store.delete(record.generation)
        former = self._store.records_of_device(record.device_id, "replaced")
        if record.state == "paired" and former:
            self._store.put_in_use(max(former, key=_rank), self._unix_time())

    def peer_updates(self, peers: Iterable[bytes]) -> list[Send]:
        """Return for each peer what the swarm must know of it now, once each, from the store as it is."""
        return [self._peer_update(peer) for peer in dict.fromkeys(peers)]

    def updates_after_session(self, session: str) -> list[Send]:
        """Return what makes the swarm settle the pairings that an ended session has left unconfirmed."""
        return self.peer_updates(peers_of(*self._store.unconfirmed_of_session(session)))

    def _peer_update(self, peer: bytes) -> Send:
        records = self._store.records_of_peer(peer, "paired", "unconfirmed")
        if not records:
            return Send("swarm", ForgetPeer(peer), slot=peer)
        settle = None
        for record in records:
            # A running session delivers its decision itself, so there is nothing to settle yet. The latest
            # asks first; what it is answered lets the next one ask.
            if record.state == "unconfirmed" and not self._evidence.is_running(record.session):
                settle = record.decision
        return Send("swarm", KnownPeer(peer, settle), slot=peer)


def _rank(record: Record) -> tuple[int, bytes]:
    return record.order, record.th3


def peers_of(*records: Record) -> tuple[bytes, ...]:
    """Return the peers of some records, each once."""
    return tuple(dict.fromkeys(record.peer for record in records))
