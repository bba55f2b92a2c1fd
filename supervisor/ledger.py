"""What every actor is owed: inboxes, checkpoints, standing messages. The heart of the supervisor, sans-IO.

Owns the rule that a Step happens as a whole or not at all (docs/architecture.md, "Restarts that nobody
notices"). Never does I/O, never looks into a body: what is to be done comes back as a list of effects.

    stepping receiver   a delivery stays in its inbox until the Step that answers it, and is given again, with
                        the same number, id, sender and incarnation, to every restart before that
    live receiver       a delivery is forgotten once written; at a restart its standing messages come first
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ..messages.base import INTERNAL_LIMIT, Message, encode
from ..messages.child_protocol import Deliver, Outgoing, Start, Step
from ..messages.from_supervisor import ActorRestarted, SessionEnded, Undeliverable
from ..messages.session_names import is_session_actor, session_of_actor
from ..messages.types import LogField, Outcome, Role
from .child_specs import SESSION
from .ledger_effects import Discard, Effect, Forward, Kill, Request, Retire, Spawn, Warn
from .routes import OVERFLOW, RESTART_WATCHERS, SESSION_END_WATCHERS, Route, actor_kind, find_route
from .standing_messages import Envelope, Standing

SUPERVISOR = "supervisor"
MAX_MESSAGES = 2048
"""Messages that one receiver may have before it; the child's own input buffer holds twice as many."""
MAX_BYTES = 8 * 1024 * 1024
SESSION_SENDS = 64
"""Envelopes in one step of a session, and those of one session before a receiver that is behind. An honest
one has far fewer; sessions parse strangers' bytes, and a bad one must not harm those it talks to."""
SESSION_STANDING = 48 * 1024
SESSION_RETAINED = 4 * 1024
"""Bytes of one standing message of a session, and of one that outlives it."""
_BEHIND = 256
MAX_BODY = INTERNAL_LIMIT - 1024
"""So that a Deliver fits into a frame around it."""
MAX_CHECKPOINT = INTERNAL_LIMIT - 128 * 1024
"""So that a Start with its configuration fits into a frame around it."""


@dataclass(frozen=True, slots=True)
class _Input:
    number: int
    envelope: Envelope
    standing: bool

    def frame(self) -> Deliver:
        envelope = self.envelope
        return Deliver(
            input=self.number,
            sender=envelope.sender,
            incarnation=envelope.incarnation,
            kind=envelope.kind,
            id=envelope.id,
            body=envelope.body,
        )


@dataclass(slots=True)
class _Actor:
    name: str
    kind: str
    stepping: bool
    role: Role | None = None
    incarnation: int = 0
    state: Literal["down", "starting", "ready"] = "down"
    checkpoint: bytes | None = None
    inbox: deque[_Input] = field(default_factory=deque)
    size: int = 0
    next_number: int = 1
    overflowed: bool = False
    refused: bool = False
    """It broke a rule: nothing more of this incarnation is taken."""

    def push(self, envelope: Envelope, *, standing: bool) -> _Input:
        entry = _Input(self.next_number, envelope, standing)
        self.next_number += 1
        self.inbox.append(entry)
        self.size += envelope.size
        return entry

    def pop(self) -> None:
        self.size -= self.inbox.popleft().envelope.size

    def waiting_from(self, sender: str) -> int:
        return sum(entry.envelope.sender == sender for entry in self.inbox)

    def is_full(self, factor: int = 1) -> bool:
        return len(self.inbox) >= MAX_MESSAGES * factor or self.size >= MAX_BYTES * factor


class Ledger:
    """The books of one node. `new_id` makes the ids of envelopes that the supervisor itself sends."""

    def __init__(self, *, max_sessions: int, new_id: Callable[[], bytes]) -> None:
        self._max_sessions = max_sessions
        self._new_id = new_id
        self._actors: dict[str, _Actor] = {}
        self._sessions = 0
        self._standing = Standing()
        self.stopping = False
        """Set when the node stops: no session is made any more."""

    # the life of an actor

    def add(self, name: str, *, stepping: bool, role: Role | None = None) -> None:
        """Open the books of an actor that is about to be started for the first time."""
        self._actors[name] = _Actor(name, actor_kind(name), stepping, role)
        self._sessions += actor_kind(name) == SESSION

    def begin(self, name: str, config: msgspec.Raw) -> Start:
        """Begin an incarnation; return its first frame."""
        actor = self._actors[name]
        actor.incarnation += 1
        actor.state = "starting"
        actor.overflowed = actor.refused = False
        return Start(name=name, incarnation=actor.incarnation, config=config, checkpoint=actor.checkpoint)

    def ready(self, name: str) -> list[Effect]:
        """Give a started actor what it is owed, standing messages first; tell those who watch it."""
        actor = self._actors.get(name)
        if actor is None or actor.state != "starting":
            return []
        actor.state = "ready"
        self._put_standing_first(actor)
        effects: list[Effect] = [Forward(name, entry.frame()) for entry in actor.inbox]
        if actor.incarnation > 1:
            watchers = RESTART_WATCHERS.get(actor.kind, ())
            for watcher in [other for other in self._actors.values() if other.kind in watchers]:
                effects += self.post(watcher.name, ActorRestarted(actor=name))
        return effects

    def died(self, name: str) -> None:
        """Note that the process is gone; its books stay."""
        actor = self._actors.get(name)
        if actor is not None:
            actor.state = "down"

    def written(self, name: str, number: int) -> None:
        """Forget deliveries to a live actor up to `number`: its process has them."""
        actor = self._actors.get(name)
        if actor is None or actor.stepping:
            return
        while actor.inbox and actor.inbox[0].number <= number:
            actor.pop()

    def head(self, name: str) -> int | None:
        """Return the number of the input that a ready stepping actor is at; None: it is idle, or not such."""
        actor = self._actors.get(name)
        if actor is None or not actor.stepping or actor.state != "ready" or not actor.inbox:
            return None
        return actor.inbox[0].number

    def drop_head(self, name: str) -> list[Effect]:
        """Throw away the input at the head of an inbox: it is poison."""
        actor = self._actors[name]
        envelope = actor.inbox[0].envelope
        actor.pop()
        return [Warn(name, "dropped poisonous input", {"kind": envelope.kind, "from": envelope.sender})]

    def end_session(
        self, name: str, outcome: Outcome, *, poison: bool = False, last_words: bool = False
    ) -> list[Effect]:
        """Close a session's books: drop its standing messages but the retained ones, tell the watchers.

        `poison`: one input has killed it again and again; whoever sent it is to be avoided.
        `last_words`: it has ended itself, and what it said last may be kept.
        """
        actor = self._actors.pop(name, None)
        if actor is None or actor.role is None:
            return []
        self._sessions -= 1
        session = session_of_actor(name)
        self._standing.end(name, SUPERVISOR, session.encode(), last_words=last_words)
        ended = SessionEnded(session=session, role=actor.role, outcome=outcome, poison=poison)
        effects: list[Effect] = []
        for watcher in SESSION_END_WATCHERS:
            effects += self.post(watcher, ended, slot=session.encode(), standing=watcher == "gateway")
        return [*effects, Retire(name)]

    def role(self, name: str) -> Role | None:
        """Return the role of a session."""
        actor = self._actors.get(name)
        return actor.role if actor is not None else None

    def mailbox(self, name: str) -> int:
        """Return how many messages an actor has before it."""
        actor = self._actors.get(name)
        return len(actor.inbox) if actor is not None else 0

    def is_ready(self, name: str) -> bool:
        """Say whether the actor takes messages at this moment."""
        actor = self._actors.get(name)
        return actor is not None and actor.state == "ready"

    # messages

    def apply(self, name: str, step: Step) -> list[Effect]:
        """Apply a Step as a whole, or nothing of it and kill its sender, when it may not do what it does."""
        actor = self._actors.get(name)
        if actor is None or actor.refused or actor.state == "down":
            return []
        wrong = _violation(actor, step)
        if wrong is not None:
            actor.refused = True
            return [Warn(name, "forbidden step", {"why": wrong}), Kill(name, "exit")]
        if step.checkpoint is not None:
            actor.checkpoint = step.checkpoint
        if step.input:
            actor.pop()
        effects: list[Effect] = []
        for out in step.out:
            route = find_route(out.kind, name, out.to)
            assert route is not None
            effects += self._send(actor, out, route)
            if actor.refused:
                return effects
        if step.end is not None:
            effects += self.end_session(name, step.end, last_words=True)
        return effects

    def post(self, to: str, message: Message, *, slot: bytes = b"", standing: bool = False) -> list[Effect]:
        """Send a message of the supervisor itself, which needs no route."""
        kind = type(message).__name__
        envelope = Envelope(SUPERVISOR, 0, kind, self._new_id(), msgspec.Raw(encode(message)))
        if standing:
            self._standing.keep(to, slot, envelope)
        receiver = self._actors.get(to)
        if receiver is None or receiver.is_full(factor=2):
            return []
        return self._deliver(receiver, envelope, standing)

    def _send(self, sender: _Actor, out: Outgoing, route: Route) -> list[Effect]:
        # A copy: the body is a view of the whole frame, checkpoint included, and may be kept for long.
        envelope = Envelope(sender.name, sender.incarnation, out.kind, out.id, out.body.copy())
        if out.to == SUPERVISOR:
            return [Request(envelope)]
        receiver = self._actors.get(out.to)
        effects: list[Effect] = []
        if receiver is None:
            if route.spawns is None or not is_session_actor(out.to):
                return self._undeliverable(sender, out, busy=False, reason="no such actor")
            if self._standing.is_ended(out.to):
                return []
            if self.stopping:
                return self._undeliverable(sender, out, busy=False, reason="the node is stopping")
            if self._sessions >= self._max_sessions:
                reason = "as many sessions as allowed are running"
                return self._undeliverable(sender, out, busy=True, reason=reason)
            self.add(out.to, stepping=True, role=route.spawns)
            receiver = self._actors[out.to]
            effects.append(Spawn(out.to))
        if route.withdraws is not None:
            self._standing.withdraw(out.to, sender.name, route.withdraws, out.slot)
        if route.standing and not self._standing.keep(out.to, out.slot, envelope, retained=route.retained):
            effects.append(Warn(sender.name, "too many standing messages", {"kind": out.kind}))
        behind = len(receiver.inbox) > _BEHIND
        if sender.kind == SESSION and behind and receiver.waiting_from(sender.name) >= SESSION_SENDS:
            sender.refused = True
            fields: dict[str, LogField] = {"to": receiver.name, "kind": out.kind}
            return [*effects, Warn(sender.name, "flooding another actor", fields), Kill(sender.name, "exit")]
        if receiver.is_full():
            return effects + self._overflow(sender, receiver, out)
        return effects + self._deliver(receiver, envelope, route.standing)

    def _deliver(self, receiver: _Actor, envelope: Envelope, standing: bool) -> list[Effect]:
        if standing and not receiver.stepping and receiver.state != "ready":
            return []  # it will come first, with the other standing messages
        entry = receiver.push(envelope, standing=standing)
        return [Forward(receiver.name, entry.frame())] if receiver.state == "ready" else []

    def _put_standing_first(self, actor: _Actor) -> None:
        if actor.stepping:
            waiting = {id(entry.envelope) for entry in actor.inbox}
            rest = list(actor.inbox)
        else:
            waiting = set()
            rest = [entry for entry in actor.inbox if not entry.standing]
        actor.inbox.clear()
        actor.size = 0
        for envelope in self._standing.owed_to(actor.name):
            if id(envelope) not in waiting:
                actor.push(envelope, standing=True)
        for entry in rest:
            if actor.stepping:
                actor.inbox.append(entry)
                actor.size += entry.envelope.size
            else:
                actor.push(entry.envelope, standing=False)

    def _undeliverable(self, sender: _Actor, out: Outgoing, *, busy: bool, reason: str) -> list[Effect]:
        if OVERFLOW.get(sender.kind) != "refuse":
            return []  # such as a candidate for a session that has just ended
        refusal = Undeliverable(to=out.to, kind=out.kind, id=out.id, busy=busy, reason=reason)
        return self.post(sender.name, refusal)

    def _overflow(self, sender: _Actor, receiver: _Actor, out: Outgoing) -> list[Effect]:
        if OVERFLOW.get(sender.kind) == "refuse":
            return self._undeliverable(sender, out, busy=True, reason="its mailbox is full")
        if receiver.overflowed:
            return []
        receiver.overflowed = True
        effects: list[Effect] = [Warn(receiver.name, "mailbox full", {"kind": out.kind, "from": sender.name})]
        if not receiver.stepping:
            receiver.inbox.clear()
            receiver.size = 0
            effects.append(Discard(receiver.name))
        return [*effects, Kill(receiver.name, "hang")] if receiver.state != "down" else effects


def _violation(actor: _Actor, step: Step) -> str | None:
    """Say what a Step does that its sender may not do; None: it is in order."""
    if actor.state != "ready":
        return "a step before Ready"
    if not actor.stepping and (step.input or step.checkpoint is not None):
        return "a live actor has no inputs and no checkpoint"
    if step.input and (not actor.inbox or actor.inbox[0].number != step.input):
        return "it answers an input that is not its next"
    if step.checkpoint is not None and len(step.checkpoint) > MAX_CHECKPOINT:
        return "its checkpoint is too large"
    if step.end is not None and actor.kind != SESSION:
        return "only a session ends"
    if actor.kind == SESSION and len(step.out) > SESSION_SENDS:
        return "it sends too much at once"
    for out in step.out:
        route = find_route(out.kind, actor.name, out.to)
        if route is None:
            return f"it may not send {out.kind} to {out.to}"
        if memoryview(out.body).nbytes > _largest_body(actor, route):
            return f"its {out.kind} is too large"
    return None


def _largest_body(actor: _Actor, route: Route) -> int:
    if actor.kind != SESSION or not route.standing:
        return MAX_BODY
    return SESSION_RETAINED if route.retained else SESSION_STANDING
