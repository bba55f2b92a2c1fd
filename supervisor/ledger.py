"""Every actor's inbox and checkpoint, and the rules by which a Step changes them. Sans-IO.

The heart of the supervisor. It owns one rule above all: a Step is applied as one, its checkpoint, the input
that it acknowledges and all its messages, or nothing of it (docs/architecture.md, "Steps"). Never does I/O
and never looks into a body: what is to be done comes back as a list of effects (ledger_effects.py).

    stepping receiver   a delivery stays in the inbox until the Step that acknowledges it; each incarnation
                        until then gets it again, with the same number, id, sender and sender's incarnation
    live receiver       a delivery is forgotten as soon as it is written; a restarted receiver first gets its
                        standing messages (standing_messages.py)
"""

from collections.abc import Callable

import msgspec

from ..messages.base import INTERNAL_LIMIT, Message, encode
from ..messages.child_protocol import Outgoing, Start, Step
from ..messages.from_supervisor import ActorDown, ActorRestarted, SessionEnded, Undeliverable
from ..messages.session_names import is_session_actor, session_of_actor
from ..messages.to_gateway import SessionLimit
from ..messages.types import LogField, Outcome, Role
from .actor_record import ActorRecord
from .child_specs import SESSION
from .ledger_effects import Discard, Effect, Forward, HandleRequest, Kill, Retire, Spawn, Warn
from .routes import (
    OVERFLOW,
    READINESS_SENDERS,
    READINESS_WATCHERS,
    RESTART_WATCHERS,
    SESSION_END_WATCHERS,
    Route,
    actor_kind,
    find_route,
)
from .standing_messages import Envelope, StandingMessages

SUPERVISOR = "supervisor"
MAX_SESSION_MESSAGES = 64
"""Messages in one Step of a session, and those of one session in an inbox with a backlog.

An honest session has
far fewer. Sessions parse strangers' bytes, and one that was taken over must not harm its receivers."""
MAX_SESSION_STANDING_BYTES = 48 * 1024
"""Of one standing message of a session."""
MAX_SESSION_RETAINED_BYTES = 4 * 1024
"""Of one standing message that outlives its session."""
_BACKLOG_MESSAGES = 256
"""In an inbox; above this, the messages of each session in it are counted."""
MAX_BODY_BYTES = INTERNAL_LIMIT - 1024
"""Leaves room in a frame for the rest of the Deliver."""
MAX_CHECKPOINT_BYTES = INTERNAL_LIMIT - 128 * 1024
"""Leaves room in a frame for the rest of the Start, with its configuration."""


class Ledger:
    """The inboxes and checkpoints of one node. `new_id` makes the ids of the supervisor's own messages.

    `debug`: actors are told that the log has that level.
    """

    def __init__(self, *, max_sessions: int, new_id: Callable[[], bytes], debug: bool = False) -> None:
        self._max_sessions = max_sessions
        self._new_id = new_id
        self.debug = debug
        self._actors: dict[str, ActorRecord] = {}
        self._incarnations: dict[str, int] = {}
        """Of singletons that were removed: one that comes again goes on counting."""
        self._sessions = 0
        self._standing = StandingMessages()
        self.stopping = False
        """Set when the node stops: no session is started any more."""

    @property
    def max_sessions(self) -> int:
        """How many sessions may run at once."""
        return self._max_sessions

    def limit_sessions(self, limit: int) -> list[Effect]:
        """Let so many sessions run at once, and tell the gateway. Those that run go on."""
        self._max_sessions = limit
        return self.post("gateway", SessionLimit(limit=limit), standing=True)

    # the life of an actor

    def add_actor(self, name: str, *, stepping: bool, role: Role | None = None) -> None:
        """Add an actor that is about to be started for the first time; `role` if it is a session."""
        incarnation = self._incarnations.pop(name, 0)
        self._actors[name] = ActorRecord(name, actor_kind(name), stepping, role, incarnation)
        self._sessions += actor_kind(name) == SESSION

    def remove_actor(self, name: str) -> list[Effect]:
        """Forget a singleton that has ended and is not started again, with its standing messages.

        It may come again, by another reload. What it measured last holds no longer.
        """
        actor = self._actors.pop(name, None)
        if actor is not None:
            self._incarnations[name] = actor.incarnation
        self._standing.drop_actor(name)
        return self.post("metrics", ActorDown(actor=name, keeps_state=False))

    def begin_incarnation(self, name: str, config: msgspec.Raw) -> Start:
        """Begin an incarnation; return its first frame, with the last checkpoint."""
        actor = self._actors[name]
        actor.incarnation += 1
        actor.state = "starting"
        actor.overflowed = actor.refused = False
        return Start(name, actor.incarnation, config, actor.checkpoint, self.debug)

    def mark_ready(self, name: str) -> list[Effect]:
        """Deliver the inbox of an actor that has started, standing messages first; inform its watchers."""
        actor = self._actors.get(name)
        if actor is None or actor.state != "starting":
            return []
        actor.state = "ready"
        for told in READINESS_WATCHERS:
            self._standing.withdraw(told, SUPERVISOR, "ActorDown", name.encode())
        self._put_standing_first(actor)
        effects: list[Effect] = [Forward(name, entry.frame()) for entry in actor.inbox]
        watchers = RESTART_WATCHERS.get(actor.kind, ())
        if actor.incarnation > 1 and watchers:
            for watcher in [other for other in self._actors.values() if other.kind in watchers]:
                effects += self.post(watcher.name, ActorRestarted(actor=name))
        return effects

    def mark_down(self, name: str) -> list[Effect]:
        """Record that the process has ended. Inbox and checkpoint stay for the next incarnation.

        Those who were told that it is ready are told that it is not.
        """
        actor = self._actors.get(name)
        if actor is None or actor.state == "down":
            return []
        actor.state = "down"
        effects: list[Effect] = []
        if actor.kind in READINESS_SENDERS:
            down, slot = ActorDown(actor=name, keeps_state=actor.stepping), name.encode()
            for watcher in READINESS_WATCHERS:
                if not actor.stepping:
                    self._standing.withdraw_all(watcher, name, "Readiness")
                effects += self.post(watcher, down, slot=slot, standing=True)
        return effects

    def mark_written(self, name: str, number: int) -> None:
        """Forget the deliveries to a live actor up to `number`: they have been written to its process."""
        actor = self._actors.get(name)
        if actor is None or actor.stepping:
            return
        while actor.inbox and actor.inbox[0].number <= number:
            actor.pop()

    def unacknowledged_input(self, name: str) -> int | None:
        """Return the number of the unacknowledged input at the front of the inbox.

        None if the actor is idle, not ready or not stepping.
        """
        actor = self._actors.get(name)
        if actor is None or not actor.stepping or actor.state != "ready" or not actor.inbox:
            return None
        return actor.inbox[0].number

    def drop_unacknowledged_input(self, name: str) -> list[Effect]:
        """Remove the input at the front of an inbox, because it is poison."""
        actor = self._actors[name]
        envelope = actor.inbox[0].envelope
        actor.pop()
        return [Warn(name, "dropped poisonous input", {"kind": envelope.kind, "from": envelope.sender})]

    def end_session(
        self, name: str, outcome: Outcome, *, poison: bool = False, keep_retained: bool = False
    ) -> list[Effect]:
        """Remove a session and its standing messages; inform its watchers.

        `poison`: one input has killed it again and again; its sender is to be avoided.
        `keep_retained`: it has ended itself, so its retained messages (its last view) are kept for the
        gateway.
        """
        actor = self._actors.pop(name, None)
        if actor is None or actor.role is None:
            return []
        self._sessions -= 1
        session = session_of_actor(name)
        self._standing.end_session(name, SUPERVISOR, session.encode(), keep_retained=keep_retained)
        ended = SessionEnded(session=session, role=actor.role, outcome=outcome, poison=poison)
        effects: list[Effect] = []
        for watcher in SESSION_END_WATCHERS:
            effects += self.post(watcher, ended, slot=session.encode(), standing=watcher == "gateway")
        return [*effects, Retire(name, actor.role, outcome)]

    def role(self, name: str) -> Role | None:
        """Return the role of a session; None if there is no such session."""
        actor = self._actors.get(name)
        return actor.role if actor is not None else None

    def inbox_length(self, name: str) -> int:
        """Return the number of messages in an actor's inbox."""
        actor = self._actors.get(name)
        return len(actor.inbox) if actor is not None else 0

    def is_ready(self, name: str) -> bool:
        """Say whether an actor takes messages at this moment."""
        actor = self._actors.get(name)
        return actor is not None and actor.state == "ready"

    # messages

    def apply_step(self, name: str, step: Step) -> list[Effect]:
        """Apply a Step as one; if any part of it is forbidden, apply nothing of it and kill its sender.

        A restart may cut an actor off anywhere, so the supervisor must never hold half of what one input has
        caused. Everything is checked before anything is changed; then the new checkpoint, the removal of the
        input and the messages take effect with no await in between. A SIGKILL comes either before the Step
        was read, and the input is delivered again to the old checkpoint, or after all of it.
        """
        actor = self._actors.get(name)
        if actor is None or actor.refused or actor.state == "down":
            return []
        violation = _violation(actor, step)
        if violation is not None:
            actor.refused = True
            return [Warn(name, "forbidden step", {"why": violation}), Kill(name, "exit")]
        if step.checkpoint is not None:
            actor.checkpoint = step.checkpoint
        if step.input:
            actor.pop()
        effects: list[Effect] = []
        for out in step.out:
            route = find_route(out.kind, name, out.to)
            assert route is not None  # _violation has looked it up
            effects += self._send(actor, out, route)
            if actor.refused:
                return effects
        if step.end is not None:
            effects += self.end_session(name, step.end, keep_retained=True)
        return effects

    def post(self, to: str, message: Message, *, slot: bytes = b"", standing: bool = False) -> list[Effect]:
        """Send a message of the supervisor itself, which needs no route.

        It may fill an inbox to twice its bounds, so that senders that filled it cannot keep it away.
        """
        kind = type(message).__name__
        envelope = Envelope(SUPERVISOR, 0, kind, self._new_id(), msgspec.Raw(encode(message)))
        if standing:
            self._standing.keep(to, slot, envelope)
        receiver = self._actors.get(to)
        if receiver is None or receiver.is_full(factor=2):
            return []
        return self._deliver(receiver, envelope, standing)

    def _send(self, sender: ActorRecord, out: Outgoing, route: Route) -> list[Effect]:
        # The body is copied because it is a view of the frame that it came in. A standing message may be kept
        # for hours, and the view would keep the frame alive, checkpoint and all other messages included.
        envelope = Envelope(sender.name, sender.incarnation, out.kind, out.id, out.body.copy())
        if out.to == SUPERVISOR:
            return [HandleRequest(envelope)]
        receiver = self._actors.get(out.to)
        effects: list[Effect] = []
        if receiver is None:
            if route.spawns is None or not is_session_actor(out.to):
                return self._undeliverable(sender, out, busy=False, reason="no such actor")
            if self._standing.has_ended(out.to):
                return []
            if self.stopping:
                return self._undeliverable(sender, out, busy=False, reason="the node is stopping")
            if self._sessions >= self._max_sessions:
                reason = "as many sessions as allowed are running"
                return self._undeliverable(sender, out, busy=True, reason=reason)
            self.add_actor(out.to, stepping=True, role=route.spawns)
            receiver = self._actors[out.to]
            effects.append(Spawn(out.to, route.spawns))
        if route.withdraws is not None:
            self._standing.withdraw(out.to, sender.name, route.withdraws, out.slot)
        if route.standing and not self._standing.keep(out.to, out.slot, envelope, retained=route.retained):
            effects.append(Warn(sender.name, "too many standing messages", {"kind": out.kind}))
        backlog = len(receiver.inbox) > _BACKLOG_MESSAGES
        if sender.kind == SESSION and backlog and receiver.messages_from(sender.name) >= MAX_SESSION_MESSAGES:
            sender.refused = True
            fields: dict[str, LogField] = {"to": receiver.name, "kind": out.kind}
            return [*effects, Warn(sender.name, "flooding another actor", fields), Kill(sender.name, "exit")]
        if receiver.is_full():
            return effects + self._overflow(sender, receiver, out)
        return effects + self._deliver(receiver, envelope, route.standing)

    def _deliver(self, receiver: ActorRecord, envelope: Envelope, standing: bool) -> list[Effect]:
        if standing and not receiver.stepping and receiver.state != "ready":
            return []  # _put_standing_first takes it from the standing messages
        entry = receiver.push(envelope, standing=standing)
        return [Forward(receiver.name, entry.frame())] if receiver.state == "ready" else []

    def _put_standing_first(self, actor: ActorRecord) -> None:
        """Reorder the inbox of an actor that has become ready: its standing messages, then the rest.

        A live actor has lost them with its former process, so all of them are sent again under new numbers. A
        stepping actor keeps its inputs as they are, since their numbers must not change; only a standing
        message that is not in its inbox is put before them.
        """
        if actor.stepping:
            present = {id(entry.envelope) for entry in actor.inbox}
            rest = list(actor.inbox)
        else:
            present = set()
            rest = [entry for entry in actor.inbox if not entry.standing]
        actor.clear()
        for envelope in self._standing.for_receiver(actor.name):
            if id(envelope) not in present:
                actor.push(envelope, standing=True)
        for entry in rest:
            if actor.stepping:
                actor.inbox.append(entry)
                actor.size += entry.envelope.size
            else:
                actor.push(entry.envelope, standing=False)

    def _undeliverable(self, sender: ActorRecord, out: Outgoing, *, busy: bool, reason: str) -> list[Effect]:
        if OVERFLOW.get(sender.kind) != "refuse":
            return []  # for example a candidate for a session that has just ended
        refusal = Undeliverable(to=out.to, kind=out.kind, id=out.id, busy=busy, reason=reason)
        return self.post(sender.name, refusal)

    def _overflow(self, sender: ActorRecord, receiver: ActorRecord, out: Outgoing) -> list[Effect]:
        """Refuse a message for a full inbox, or kill the receiver, as routes.OVERFLOW says for the sender."""
        if OVERFLOW.get(sender.kind) == "refuse":
            return self._undeliverable(sender, out, busy=True, reason="its mailbox is full")
        if receiver.overflowed:
            return []
        receiver.overflowed = True
        effects: list[Effect] = [Warn(receiver.name, "mailbox full", {"kind": out.kind, "from": sender.name})]
        if not receiver.stepping:
            receiver.clear()
            effects.append(Discard(receiver.name))
        return [*effects, Kill(receiver.name, "hang")] if receiver.state != "down" else effects


def _violation(actor: ActorRecord, step: Step) -> str | None:
    """Return what a Step does that its sender may not do; None if it is in order."""
    if actor.state != "ready":
        return "a step before Ready"
    if not actor.stepping and (step.input or step.checkpoint is not None):
        return "a live actor has no inputs and no checkpoint"
    if step.input and (not actor.inbox or actor.inbox[0].number != step.input):
        return "it answers an input that is not its next"
    if step.checkpoint is not None and len(step.checkpoint) > MAX_CHECKPOINT_BYTES:
        return "its checkpoint is too large"
    if step.end is not None and actor.kind != SESSION:
        return "only a session ends"
    if actor.kind == SESSION and len(step.out) > MAX_SESSION_MESSAGES:
        return "it sends too much at once"
    for out in step.out:
        route = find_route(out.kind, actor.name, out.to)
        if route is None:
            return f"it may not send {out.kind} to {out.to}"
        if memoryview(out.body).nbytes > _max_body_bytes(actor, route):
            return f"its {out.kind} is too large"
    return None


def _max_body_bytes(actor: ActorRecord, route: Route) -> int:
    if actor.kind != SESSION or not route.standing:
        return MAX_BODY_BYTES
    return MAX_SESSION_RETAINED_BYTES if route.retained else MAX_SESSION_STANDING_BYTES
