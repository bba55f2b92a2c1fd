"""What the gateway knows of the node: one record for each session, and what each part last said.

A pure fold of the gateway's inbox; rebuilt from standing messages after a restart. Owns the promise that
the state of a session never goes back and that every session that is over has an outcome
(docs/interfaces.md, "Control socket"). Never sends anything.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from msgspec.structs import replace

from ...messages.control_protocol import NodeStatus, SessionState, ShownDevice
from ...messages.from_supervisor import SessionEnded
from ...messages.session_names import actor_of_session
from ...messages.to_gateway import (
    Confirmation,
    GatewayInbox,
    NodeIdentity,
    Readiness,
    SessionLimit,
    SessionView,
    SwarmStatus,
)
from ...messages.types import Instant, Outcome, Role, SessionId, Stage
from ...protocol.code import qr_payload, words_of
from ...protocol.identity import IdentityError, check_name, device_id

ENDED_KEPT = 128
"""Sessions that are over and still answered about; older ones are forgotten."""
PARTS = ("vault", "swarm", "dht")
"""What must be ready before the node is. A pairing can begin without the DHT: it may be bootstrapping."""
_NEEDED_TO_PAIR = ("vault", "swarm")
_QR_ADDRESSES = 4
_RANK: dict[Stage, int] = {stage: rank for rank, stage in enumerate(get_args(Stage))}

_MESSAGES: dict[Outcome, str] = {
    "paired": "The devices are paired.",
    "rejected": "The pairing was rejected.",
    "expired": "The code has expired.",
    "not_found": "No device that shows this code was found.",
    "wrong_code": "The device that was found does not show this code.",
    "cancelled": "The pairing was cancelled.",
    "lost_contact": "The other device can no longer be reached.",
    "crashed": "This pairing failed inside the node; nothing else is affected. Start a new one.",
    "busy": "The other device is busy; try again later.",
}
"""For an end that the session itself could not explain."""
_STOPPED = (
    "This node was stopped before the other device had answered. Start again; "
    "if both had accepted, they settle it when they meet again: sdnode devices shows it."
)


@dataclass(slots=True)
class Record:
    """One session: what it last showed, and how the supervisor says it ended."""

    session: SessionId
    role: Role
    view: SessionView | None = None
    ended: Outcome | None = None
    decision: bool | None = None
    """What the gateway has sent on as the user's decision; the session's own word follows in its view."""
    confirmation: Confirmation | None = None
    """What there is to decide about: the first that was shown, and never another."""
    note: str = ""
    """What to say of its end instead of the session's own words."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, by its own word or the supervisor's; None while it runs."""
        if self.view is not None and self.view.outcome is not None:
            return self.view.outcome
        return self.ended

    @property
    def accepted(self) -> bool | None:
        """The user's decision as far as it is known."""
        if self.view is not None and self.view.accepted is not None:
            return self.view.accepted
        return self.decision


class Board:
    """The fold. `fold` takes one message; everything else only reads."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._records: dict[SessionId, Record] = {}
        self._joining: dict[SessionId, bytes] = {}
        """A digest of the code that each session enters, while it runs."""
        self.identity: NodeIdentity | None = None
        """Who this device is; None until the vault has said it."""
        self._swarm: SwarmStatus | None = None
        self._readiness: dict[str, Readiness] = {}
        self._limit = 0

    def fold(self, sender: str, message: GatewayInbox) -> tuple[SessionId, ...]:
        """Take one message; return the sessions whose state is another now.

        A view counts only from the session that it is about: a session that has been taken over cannot
        speak for another.
        """
        match message:
            case SessionView():
                return self._fold_view(message) if sender == actor_of_session(message.session) else ()
            case SessionEnded(session=session, role=role, outcome=outcome):
                record = self._records.setdefault(session, Record(session, role))
                known = record.outcome is not None
                record.ended = record.ended or outcome
                if record.view is not None and record.view.code is not None:
                    record.view = replace(record.view, code=None)  # killed while it showed one
                self._joining.pop(session, None)
                self._forget_old()
                return () if known else (session,)
            case NodeIdentity():
                self.identity = message
            case SwarmStatus():
                before, self._swarm = self._swarm, message
                if before is None or before.addresses != message.addresses:
                    return tuple(id for id, record in self._records.items() if _shows_code(record))
            case Readiness(part=part):
                self._readiness[part] = message
            case SessionLimit(limit=limit):
                self._limit = limit
            case _:
                pass
        return ()

    def _fold_view(self, view: SessionView) -> tuple[SessionId, ...]:
        record = self._records.get(view.session)
        if record is None:
            record = self._records[view.session] = Record(view.session, view.role)
        old = record.view
        if old is not None and (old.outcome is not None or _RANK[view.stage] < _RANK[old.stage]):
            return ()
        if old == view or not _shows_fairly(view.confirmation, record.confirmation):
            return ()
        record.view = view
        record.confirmation = record.confirmation or view.confirmation
        self._forget_old()
        return (view.session,)

    def abandon(self) -> list[SessionId]:
        """The node stops: every session that has not ended by now does, for its clients. Return them."""
        open_ones = [record for record in self._records.values() if record.outcome is None]
        for record in open_ones:
            record.ended, record.note = "lost_contact", _STOPPED
        return [record.session for record in open_ones]

    def _forget_old(self) -> None:
        ended = [id for id, record in self._records.items() if record.outcome is not None]
        for id in ended[: max(len(ended) - ENDED_KEPT, 0)]:
            del self._records[id]

    def record(self, session: SessionId) -> Record | None:
        """Return what is known of a session, None if nothing is."""
        return self._records.get(session)

    def shows_code(self, code: bytes) -> bool:
        """Say whether a session of this node is showing this very code."""
        return any(
            record.view is not None and record.view.code == code
            for record in self._records.values()
            if _shows_code(record)
        )

    def joining(self, code: bytes, session: SessionId) -> SessionId | None:
        """Note that `session` enters this code; or return the other session that does so already.

        Not known any more after a restart of the gateway; the swarm then gives frames to the first of two.
        """
        digest = hashlib.sha256(code).digest()
        for other, known in list(self._joining.items()):
            record = self._records.get(other)
            if record is not None and record.outcome is not None:
                del self._joining[other]
            elif known == digest and other != session:
                return other
        self._joining[session] = digest
        return None

    def state(self, session: SessionId, now: Instant) -> SessionState | None:
        """Return the session as its user may see it at `now`."""
        record = self._records.get(session)
        return None if record is None else self._compose(record, now)

    def states(self, now: Instant) -> Iterable[SessionState]:
        """Return every session: those that run, oldest first, then those that are over, newest first."""
        records = list(self._records.values())
        running = [record for record in records if record.outcome is None]
        over = [record for record in reversed(records) if record.outcome is not None]
        return (self._compose(record, now) for record in running + over)

    def _compose(self, record: Record, now: Instant) -> SessionState:
        view, outcome = record.view, record.outcome
        if view is None:
            stage: Stage = "waiting" if record.role == "initiator" else "searching"
            message = "" if outcome is None else _MESSAGES[outcome]
            return SessionState(record.session, record.role, stage, outcome=outcome, message=message)
        words = qr = expires_in = None
        if view.code is not None and outcome is None:
            words = " ".join(words_of(view.code))
            if self._swarm is not None:
                qr = qr_payload(view.code, self._swarm.peer, self._swarm.addresses[:_QR_ADDRESSES])
        if view.expires is not None and outcome is None:
            expires_in = max(view.expires - now, 0.0)
        return SessionState(
            session=view.session,
            role=view.role,
            stage=view.stage,
            words=words,
            qr=qr,
            expires_in=expires_in,
            device=None if record.confirmation is None else _shown(record.confirmation),
            check=None if record.confirmation is None else record.confirmation.check,
            accepted=view.accepted,
            outcome=outcome,
            message=record.note or view.message or ("" if outcome is None else _MESSAGES[outcome]),
            fingerprint=view.fingerprint,
            seconds=view.seconds,
            path=view.path,
        )

    def not_ready_to_pair(self) -> str:
        """Return what is missing before a pairing can begin, for people; empty when nothing is."""
        missing = [self._missing_text(part) for part in _NEEDED_TO_PAIR if not self.ready(part)]
        if self.identity is None and not missing:
            missing = ["vault"]
        return "; ".join(missing)

    def ready(self, part: str) -> bool:
        """Say whether a part of the node has said that it is ready."""
        return part in self._readiness and self._readiness[part].ready

    def _missing_text(self, part: str) -> str:
        said = self._readiness.get(part)
        return f"{part} ({said.detail})" if said is not None and said.detail else part

    def status(self, id: int) -> NodeStatus:
        """Return the answer to Status; what a part has not said yet is empty."""
        identity, swarm = self.identity, self._swarm
        missing = tuple(part for part in PARTS if not self.ready(part))
        return NodeStatus(
            id=id,
            name="" if identity is None else identity.name,
            peer=b"" if identity is None else identity.peer,
            version=self._version,
            addresses=() if swarm is None else swarm.addresses,
            reachability="" if swarm is None else swarm.reachability,
            dht_mode="auto" if swarm is None else swarm.dht_mode,
            dht_peers=0 if swarm is None else swarm.dht_peers,
            sessions_active=sum(record.outcome is None for record in self._records.values()),
            sessions_limit=self._limit,
            ready=not missing,
            missing=missing,
        )


def _shows_code(record: Record) -> bool:
    return record.view is not None and record.view.code is not None and record.outcome is None


def _shows_fairly(confirmation: Confirmation | None, former: Confirmation | None) -> bool:
    """Say whether a view may reach the user: a session that has been taken over may show one device, and then
    another for the user's decision to fall upon, or a key under the id of another device.
    """
    if confirmation is None or confirmation == former:
        return True
    device = confirmation.device
    try:
        check_name(device.name)
    except IdentityError:
        return False
    return former is None and device.device_id == device_id(device.public_key)


def _shown(confirmation: Confirmation) -> ShownDevice:
    device = confirmation.device
    return ShownDevice(device.device_id, device.name, device.os, device.peer, device.public_key)
