"""The sessions as the gateway knows them: what each last showed, how it ended, and what its user sees of it.

A read model: it is computed from the messages that reach the gateway and changes nothing itself. After a
restart of the gateway it is rebuilt, since the views of sessions are standing messages. Owns the promise
that the state of a session never goes back, that the device shown to the user never changes, and that every
session that is over has an outcome (docs/interfaces.md, "Control socket"). Never sends anything.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from ...messages.control_protocol import SessionState, ShownDevice
from ...messages.from_supervisor import SessionEnded
from ...messages.outcome_texts import BY_OUTCOME, NODE_STOPPED
from ...messages.session_names import actor_of_session
from ...messages.to_gateway import Confirmation, SessionView, SwarmStatus
from ...messages.types import Instant, Outcome, Role, SessionId, Stage, later_stage
from ...protocol.best_addresses import MAX_NAMED_ADDRESSES
from ...protocol.code import qr_payload, words_of
from ...protocol.identity import IdentityError, check_name, device_id

MAX_ENDED_SESSIONS = 128
"""Sessions that are over and still reported; older ones are forgotten."""


@dataclass(slots=True)
class SessionRecord:
    """One session: what it last showed, and how it ended as the supervisor reported it."""

    session: SessionId
    role: Role
    view: SessionView | None = None
    ended: Outcome | None = None
    """The outcome that the supervisor reported when the process had ended."""
    decision: bool | None = None
    """The user's decision that the gateway has sent. The session confirms it in its view."""
    confirmation: Confirmation | None = None
    """The device that the user decides about: the first that the session showed, never replaced."""
    end_message: str = ""
    """What the user is told about the end in place of the session's own message."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended: by its last view, or else by the supervisor's report; None while it runs."""
        if self.view is not None and self.view.outcome is not None:
            return self.view.outcome
        return self.ended

    @property
    def accepted(self) -> bool | None:
        """The user's decision, as the session confirmed it or else as the gateway sent it; None: none yet."""
        if self.view is not None and self.view.accepted is not None:
            return self.view.accepted
        return self.decision

    @property
    def decision_is_final(self) -> bool:
        """Whether the session has taken a decision or has ended, so that no later decision has any effect."""
        return self.outcome is not None or (self.view is not None and self.view.accepted is not None)

    @property
    def shows_code(self) -> bool:
        """Whether the user can read a code from this session now."""
        return self.view is not None and self.view.code is not None and self.outcome is None


class SessionStore:
    """All sessions by id: those that run, oldest first, and among them those that are over, by their end.

    `apply_*` and `end_all` return the sessions whose state changed.
    """

    def __init__(self) -> None:
        self._records: dict[SessionId, SessionRecord] = {}
        self._entered_codes: dict[SessionId, bytes] = {}
        """A digest of the code that each joining session enters, until it ends."""
        self._beginning: set[SessionId] = set()
        """Of these, those that a request is about to make."""
        self._swarm: SwarmStatus | None = None
        """Where this node is reached, for QR codes."""

    def apply_view(self, sender: str, view: SessionView) -> tuple[SessionId, ...]:
        """Replace what a session shows, unless the view is from another actor, goes back or is inconsistent.

        The sender is checked because a session that has been taken over must not speak for another one.
        """
        if sender != actor_of_session(view.session):
            return ()
        record = self._records.get(view.session)
        if record is None:
            record = self._records[view.session] = SessionRecord(view.session, view.role)
        old = record.view
        # The one place that decides that a stage never goes back and that the first outcome stands. An honest
        # session keeps to both by itself, also after a restart from its checkpoint: its stage is the latest
        # that it reached. But a session parses strangers' messages and may have been taken over, and what is
        # kept here is what users see. Clients need not check again.
        if old is not None and (old.outcome is not None or later_stage(old.stage, view.stage) != view.stage):
            return ()
        if old == view or not _may_be_shown(view.confirmation, record.confirmation):
            return ()
        record.view = view
        record.confirmation = record.confirmation or view.confirmation
        if record.outcome is not None:
            self._keep_as_last_ended(record)
        return (view.session,)

    def apply_end(self, message: SessionEnded) -> tuple[SessionId, ...]:
        """Record that the process of a session has ended."""
        record = self._records.setdefault(message.session, SessionRecord(message.session, message.role))
        was_known = record.outcome is not None
        record.ended = record.ended or message.outcome
        if record.view is not None and record.view.code is not None:
            # The process was killed while it showed its code. The code is secret, so it is not kept.
            record.view = replace(record.view, code=None)
        self._entered_codes.pop(message.session, None)
        if was_known:
            return ()
        self._keep_as_last_ended(record)
        return (message.session,)

    def apply_swarm_status(self, status: SwarmStatus) -> tuple[SessionId, ...]:
        """Record where this node is reached. QR codes contain the addresses, so new ones change them."""
        former, self._swarm = self._swarm, status
        if former is not None and former.addresses == status.addresses:
            return ()
        return tuple(id for id, record in self._records.items() if record.shows_code)

    def end_all(self) -> tuple[SessionId, ...]:
        """Give every session that still runs an outcome, for its clients, because the node stops."""
        running = [record for record in self._records.values() if record.outcome is None]
        for record in running:
            record.ended, record.end_message = "lost_contact", NODE_STOPPED
        return tuple(record.session for record in running)

    def get(self, session: SessionId) -> SessionRecord | None:
        """Return what is known of a session; None if nothing is."""
        return self._records.get(session)

    def count_running(self) -> int:
        """Return how many sessions have not ended."""
        return sum(record.outcome is None for record in self._records.values())

    def shows_code(self, code: bytes) -> bool:
        """Return whether a session of this node shows this very code."""
        return any(
            record.shows_code and record.view is not None and record.view.code == code
            for record in self._records.values()
        )

    def claim_entered_code(self, code: bytes, session: SessionId) -> SessionId | None:
        """Record that `session` enters this code; or return another session that enters it already.

        Followed by `end_beginning`. A restarted gateway does not know the codes entered before, because
        views do not contain them. Then two sessions may enter one code, and the swarm hands frames to the
        first of them.
        """
        digest = hashlib.sha256(code).digest()
        for other, entered in list(self._entered_codes.items()):
            record = self._records.get(other)
            if record is not None and record.outcome is not None:
                del self._entered_codes[other]
            elif entered == digest and other != session and (record is not None or other in self._beginning):
                return other
        self._entered_codes[session] = digest
        self._beginning.add(session)
        return None

    def end_beginning(self, session: SessionId) -> None:
        """Count the code that `session` enters only if it runs: it may not have begun, or begins late."""
        self._beginning.discard(session)
        unused = [id for id in self._entered_codes if id not in self._records and id not in self._beginning]
        for id in unused[: max(len(unused) - MAX_ENDED_SESSIONS, 0)]:
            del self._entered_codes[id]

    def state(self, session: SessionId, now: Instant) -> SessionState | None:
        """Return a session as its user may see it at `now`; None if the session is not known."""
        record = self._records.get(session)
        return None if record is None else self._compose(record, now)

    def states(self, now: Instant) -> Iterable[SessionState]:
        """Return every session: those that run, oldest first, then those that are over, newest first."""
        records = list(self._records.values())
        running = [record for record in records if record.outcome is None]
        over = [record for record in reversed(records) if record.outcome is not None]
        return (self._compose(record, now) for record in running + over)

    def _compose(self, record: SessionRecord, now: Instant) -> SessionState:
        view, outcome = record.view, record.outcome
        if view is None:
            stage: Stage = "waiting" if record.role == "initiator" else "searching"
            message = "" if outcome is None else BY_OUTCOME[outcome]
            return SessionState(record.session, record.role, stage, outcome=outcome, message=message)
        words = qr = expires_in = None
        if view.code is not None and outcome is None:
            words = " ".join(words_of(view.code))
            if self._swarm is not None:
                qr = qr_payload(view.code, self._swarm.peer, self._swarm.addresses[:MAX_NAMED_ADDRESSES])
        if view.expires is not None and outcome is None:
            expires_in = max(view.expires - now, 0.0)
        return SessionState(
            session=view.session,
            role=view.role,
            stage=view.stage,
            words=words,
            qr=qr,
            expires_in=expires_in,
            device=None if record.confirmation is None else _shown_device(record.confirmation),
            check=None if record.confirmation is None else record.confirmation.check,
            accepted=view.accepted,
            outcome=outcome,
            message=record.end_message or view.message or ("" if outcome is None else BY_OUTCOME[outcome]),
            fingerprint=view.fingerprint,
            seconds=view.seconds,
            path=view.path,
            transport=view.transport,
        )

    def _keep_as_last_ended(self, record: SessionRecord) -> None:
        """Put a session that has ended behind all others, and forget those that ended longest ago."""
        self._records[record.session] = self._records.pop(record.session)
        ended = [id for id, record in self._records.items() if record.outcome is not None]
        for id in ended[: max(len(ended) - MAX_ENDED_SESSIONS, 0)]:
            del self._records[id]


def _may_be_shown(confirmation: Confirmation | None, former: Confirmation | None) -> bool:
    """Return whether a view with this confirmation may reach the user, `former` being the one shown before.

    A session that has been taken over could show one device and then another, so that the user's decision
    falls upon the second, or show a key under the id of another device.
    """
    if confirmation is None or confirmation == former:
        return True
    device = confirmation.device
    try:
        check_name(device.name)
    except IdentityError:
        return False
    return former is None and device.device_id == device_id(device.public_key)


def _shown_device(confirmation: Confirmation) -> ShownDevice:
    device = confirmation.device
    return ShownDevice(device.device_id, device.name, device.os, device.peer, device.public_key)
