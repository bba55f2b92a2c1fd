"""Alters what an actor sends: the same message many times, or messages of the wrong kind.

Each alteration changes one Step that contains a message which the actor sends in every pairing.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from spacedrive_node.messages import to_session
from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.child_protocol import FromChild, Outgoing, Step
from spacedrive_node.messages.to_supervisor import AreYouAlive, Shutdown
from spacedrive_node.messages.to_swarm import SwarmIdentity
from spacedrive_node.supervisor.actor_record import MAX_INBOX_MESSAGES

USUAL_MESSAGES = {
    "session": {"SignIdentity"},
    "vault": {"Signed"},
    "swarm": {"PeerRequest", "PeerAnswer"},
    "discovery": {"KadRequest"},
    "gateway": {"Decide"},
    "metrics": {"AreYouAlive"},
}
"""Messages that each kind of actor sends in every pairing, on either side.

Metrics only receives, so any of its
steps is altered.
"""
Change = Callable[[Outgoing], tuple[Outgoing, ...]]
"""Returns the messages to send in place of the given one."""


def envelope(message: Message, to: str) -> Outgoing:
    return Outgoing(to, type(message).__name__, os.urandom(16), msgspec.Raw(encode(message)))


def flooding(said: Outgoing) -> tuple[Outgoing, ...]:
    """Return more copies of the message than any mailbox may hold."""
    return (said, *(msgspec.structs.replace(said, id=os.urandom(16)) for _ in range(MAX_INBOX_MESSAGES + 50)))


def forbidden(said: Outgoing) -> tuple[Outgoing, ...]:
    """Return a message of a kind that this actor may not send to anyone."""
    if said.kind == "Decide":
        return (envelope(SwarmIdentity(bytes(32)), "swarm"),)
    return (envelope(Shutdown(), "supervisor"),)


def mislabelled(said: Outgoing) -> tuple[Outgoing, ...]:
    """Return the envelope with a body of another kind than it names."""
    return (msgspec.structs.replace(said, body=envelope(Shutdown(), "supervisor").body),)


def another_answer(said: Outgoing) -> tuple[Outgoing, ...]:
    """Return an answer to the same request, of a kind that answers other requests."""
    if said.kind == "Signed":
        request = to_session.decode(bytes(said.body)).request
        return (envelope(to_session.Stored(request, "unconfirmed"), said.to),)
    if said.kind == "PeerAnswer":
        request = to_session.decode(bytes(said.body)).request
        return (envelope(to_session.PeerUnreachable(request, "a lie"), said.to),)
    return (said,)


@dataclass
class MisbehavingActor:
    """Alters one step of one kind of actor, once."""

    kind: str
    change: Change
    done: bool = False

    def __call__(self, actor: str, step: Step) -> list[FromChild] | None:
        if self.done or actor.partition("-")[0] != self.kind:
            return None
        out = step.out
        if self.kind == "metrics":
            out = (envelope(AreYouAlive(1), "supervisor"), *out)
        for place, said in enumerate(out):
            if said.kind in USUAL_MESSAGES[self.kind] and (instead := self.change(said)) != (said,):
                self.done = True
                return [msgspec.structs.replace(step, out=(*out[:place], *instead, *out[place + 1 :]))]
        return None
