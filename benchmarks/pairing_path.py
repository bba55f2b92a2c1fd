"""Finds where the time of one pairing goes: the chain of causes from its end back to its beginning.

Pure. Takes the messages that passed both supervisors (frame_recorder.py). From the last `paired` that a
user was shown it follows back what each message waited for:

- A delivered message was sent by a step (same envelope id). The time between is the supervisor's.
- A step of a stepping actor was caused by its input. The time between is the actor's.
- A message of a live actor was caused by an input with the same request number, by the same wire frame on
  either node, or else by its last input.

So the parts of the path add up to the time from `join` to `paired`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .frame_recorder import Passed

BEGIN = "JoinPairing"
SPAWNING = {"StartPairing", BEGIN}
_MOST = 400
_ANSWERS = {"Servers": "ClosestServers", "KadReply": "KadRequest", "KadFailed": "KadRequest"}
_WIRE = {"PeerRequest": "Ask", "PeerAnswer": "PeerReply"}
"""What the swarm gives an actor of its own node, and what the other node's swarm was given before."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the path: the time from one message to the next, spent at `where`.

    where    "supervisor B", "session A", "swarms", "client" …
    """

    where: str
    after: str
    until: str
    began: int
    ended: int

    @property
    def milliseconds(self) -> float:
        """Its duration."""
        return (self.ended - self.began) / 1e6


class PathLostError(Exception):
    """The cause of a message was not found."""


class _Events:
    """The messages that passed both nodes, in order of time."""

    def __init__(self, nodes: dict[str, Sequence[Passed]]) -> None:
        self.all = sorted(
            ((node, event) for node, events in nodes.items() for event in events), key=lambda one: one[1].at
        )
        self._out = {(node, e.id, e.other): e for node, e in self.all if e.direction == "out"}

    def sent(self, node: str, event: Passed) -> Passed | None:
        """Return the step that sent a delivered message, None if the supervisor itself sent it."""
        return self._out.get((node, event.id, event.actor))

    def last(self, before: int, node: str | None, **like: object) -> tuple[str, Passed] | None:
        """Return the last message that was delivered before a time and has these values."""
        found = None
        for where, event in self.all:
            if event.at > before:
                break
            fits = all(getattr(event, name) == value for name, value in like.items())
            if event.direction == "in" and node in (None, where) and fits:
                found = (where, event)
        return found


def path_of(nodes: dict[str, Sequence[Passed]], began: int, ended: int, joiner: str) -> list[Part]:
    """Return the path of the one pairing that was recorded, from first to last. Raises PathLostError.

    `nodes`: by name what passed. `began`, `ended`: what the clients saw (nodes.Times). `joiner`: its node.
    """
    events = _Events(nodes)
    last = events.last(ended, None, actor="gateway", kind="SessionView", shown="paired")
    if last is None:
        raise PathLostError("nobody was shown `paired`")
    node, event = last
    parts = [Part("clients", "SessionView paired", "the end", event.at, ended)]
    for _ in range(_MOST):
        out = events.sent(node, event)
        if out is None:
            raise PathLostError(f"{event.kind} to {event.actor} came from nobody")
        parts.append(_forwarded(node, out, event))
        if out.kind == BEGIN and node == joiner:
            parts.append(Part("clients", "join", BEGIN, began, out.at))
            return parts[::-1]
        cause = _cause(events, node, out)
        if cause is None:
            raise PathLostError(f"{out.actor} sent {out.kind} of its own accord")
        parts.append(Part(_where(node, out, cause), cause[1].kind, out.kind, cause[1].at, out.at))
        node, event = cause
    raise PathLostError("it has no end")


def _forwarded(node: str, out: Passed, event: Passed) -> Part:
    """Return the part from a step to the delivery of its message.

    The first to a session starts its process.
    """
    where = f"start of session {node}" if out.kind in SPAWNING else f"supervisor {node}"
    return Part(where, out.kind, out.kind, out.at, event.at)


def _cause(events: _Events, node: str, out: Passed) -> tuple[str, Passed] | None:
    actor = out.actor
    if out.input:
        return events.last(out.at, node, actor=actor, input=out.input)
    if actor == "swarm" and out.kind in _WIRE:
        found = events.last(out.at, None, actor="swarm", kind=_WIRE[out.kind], carries=out.carries)
        if found is not None:
            return found
    if out.kind in _ANSWERS or out.kind == "PeerAnswer":
        asked = _ANSWERS.get(out.kind, "Ask")
        return events.last(out.at, node, actor=actor, kind=asked, request=out.request)
    if actor == "gateway":
        found = events.last(out.at, node, actor=actor, kind="SessionView", shown="deciding")
        if found is not None:
            return found
    if actor in ("discovery", "gateway", "swarm"):
        return events.last(out.at, node, actor=actor)
    return None


def _where(node: str, out: Passed, cause: tuple[str, Passed]) -> str:
    if cause[0] != node:
        return "swarms and the network"
    actor = out.actor.partition("-")[0]
    if actor == "gateway" and out.kind in ("Decide", "Accept"):
        return "clients"
    return f"{actor} {node}"
