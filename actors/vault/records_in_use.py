"""Which record of a device is in use, and what the swarm must know of its peer.

A device may have several records: one `paired`, the one in use; `unconfirmed` ones that wait for the peer's
acknowledgement; `replaced` ones that are only answered for. Implements docs/protocol.md, "Ending". Runs
within the caller's transaction; never decides whether a device may be trusted.

Both sides give pairings with each other the same order (protocol/pairing_clock.py), so whatever overlaps and
however the last words arrive, both use the same one.
"""

from collections.abc import Callable

from ...messages.to_swarm import ForgetPeer, KnownPeer
from ..base import Send
from .device_record import Record
from .device_store import Store
from .session_evidence import Trust


class Generations:
    """Chooses among the records of a device. `wall` gives Unix time."""

    def __init__(self, store: Store, trust: Trust, wall: Callable[[], float]) -> None:
        self._store = store
        self._trust = trust
        self._wall = wall

    def complete(self, record: Record) -> tuple[bytes, ...]:
        """Complete a record and choose which one of its device is in use. Returns the peers concerned."""
        former = next(iter(self._store.of_device(record.device_id, "paired")), None)
        self._store.complete(record.generation, self._wall())
        if former is None:
            self._store.use(record)
            return peers_of(record)
        if _rank(record) > _rank(former):
            self._store.use(record)
        return peers_of(record, former)

    def left_open_by(self, session: str) -> list[Send]:
        """Have the swarm settle what a session has left unconfirmed."""
        records = self._store.find("session = ? AND state = 'unconfirmed'", session)
        return [send for peer in peers_of(*records) for send in self.announce(peer)]

    def announce(self, peer: bytes) -> list[Send]:
        """Tell the swarm what it must know of a peer, from the store as it is.

        While a session lives, delivering its decision is its own affair.
        """
        records = self._store.of_peer(peer, "paired", "unconfirmed")
        if not records:
            return [Send("swarm", ForgetPeer(peer), slot=peer)]
        settle = None
        for record in records:
            if (
                record.state == "unconfirmed"
                and not self._trust.is_live(record.session)
                and not self._superseded(record)
            ):
                settle = record.decision
        return [Send("swarm", KnownPeer(peer, settle), slot=peer)]

    def _superseded(self, record: Record) -> bool:
        return any(
            _rank(other) > _rank(record) for other in self._store.of_device(record.device_id, "paired")
        )


def _rank(record: Record) -> tuple[int, bytes]:
    return record.order, record.th3


def peers_of(*records: Record) -> tuple[bytes, ...]:
    """Return the peers of some records, each once."""
    return tuple(dict.fromkeys(record.peer for record in records))
