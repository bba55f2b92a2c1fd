"""Settling: answers a peer's repeated decision from the store, and takes in the answer to an own one.

Implements docs/protocol.md, "Settling". Owns which record an answer concerns. Never commits: `apply` runs in
the transaction of machine.py.
"""

import hmac

from ...messages.base import MalformedMessageError, encode
from ...messages.peer_protocol import DecisionReceived, Refused, decode_wire
from ...messages.to_swarm import PeerReply
from ...messages.to_vault import Settled, SettleRequest
from ..base import Send
from .device_store import DeviceStore, RecordedEffect
from .records_in_use import RecordsInUse, peers_of
from .store_files import StoreGoneError
from .store_health import StoreHealth


class Settling:
    """Settles the records of one store."""

    def __init__(self, store: DeviceStore, records_in_use: RecordsInUse, health: StoreHealth) -> None:
        self._store = store
        self._records_in_use = records_in_use
        self._health = health

    def answer(self, message: SettleRequest) -> list[Send]:
        """Answer a peer's decision that belongs to no running session, with the reply kept for it.

        Our record does not become `paired` by this. The peer's session may still be running: it repeats its
        decision because our reply was lost, and it still waits for our decision. If we stopped sending ours
        now, the peer would end without the pairing. So ours is sent at this same contact
        (KnownPeer.settle), and the answer to it decides.
        """
        try:
            self._store.files.check()
        except StoreGoneError as error:
            return self._health.report_failure(error)  # neither answer would be true: the exchange expires
        for record in self._store.records_of_decision(message.peer, message.frame):
            out = [Send("swarm", PeerReply(message.request, record.reply))]
            if record.state == "unconfirmed":
                out += self._records_in_use.peer_updates([message.peer])
            return out
        try:
            frame = decode_wire(message.frame)
        except MalformedMessageError:
            return []  # the swarm forwards only valid frames; one that does not lets its exchange expire
        refusal = Refused(frame.code_id, frame.attempt, "closed")
        return [Send("swarm", PeerReply(message.request, encode(refusal)))]

    def apply(self, message: Settled) -> RecordedEffect | None:
        """Apply what a peer answered to a decision that the swarm repeated: paired, or dropped.

        None: it concerns no record.
        """
        try:
            answer = decode_wire(message.frame)
        except MalformedMessageError:
            return None
        for record in self._store.records_of_peer(message.peer, "unconfirmed"):
            own = decode_wire(record.decision)
            if (own.code_id, own.attempt) != (answer.code_id, answer.attempt):
                continue
            match answer:
                case DecisionReceived(mac=mac) if hmac.compare_digest(mac, record.expected_mac):
                    return RecordedEffect(None, self._records_in_use.complete(record))
                case Refused(reason="closed"):
                    self._store.delete(record.generation)
                    return RecordedEffect(None, peers_of(record))
        return None
