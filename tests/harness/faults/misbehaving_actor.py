"""What an actor may say that it should not: what it said, over and over, or messages of the wrong kind.

Each is a change of one Step of an actor that holds a message which it says in every pairing.
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
from spacedrive_node.supervisor.ledger import MAX_MESSAGES

SPEAKS = {
    "session": {"SignIdentity"},
    "vault": {"Signed"},
    "swarm": {"PeerRequest", "PeerAnswer"},
    "discovery": {"KadRequest"},
    "gateway": {"Decide"},
    "metrics": {"AreYouAlive"},
}
"""What each says in every pairing, on either side; but metrics is only told, so any step of it will do."""
Change = Callable[[Outgoing], tuple[Outgoing, ...]]
"""What it says in place of that message."""


def envelope(message: Message, to: str) -> Outgoing:
    return Outgoing(to, type(message).__name__, os.urandom(16), msgspec.Raw(encode(message)))


def flooding(said: Outgoing) -> tuple[Outgoing, ...]:
    """More of it than any receiver may have before it."""
    return (said, *(msgspec.structs.replace(said, id=os.urandom(16)) for _ in range(MAX_MESSAGES + 50)))


def forbidden(said: Outgoing) -> tuple[Outgoing, ...]:
    """A kind that this actor may send to nobody."""
    if said.kind == "Decide":
        return (envelope(SwarmIdentity(bytes(32)), "swarm"),)
    return (envelope(Shutdown(), "supervisor"),)


def mislabelled(said: Outgoing) -> tuple[Outgoing, ...]:
    """A body of another kind than the envelope says."""
    return (msgspec.structs.replace(said, body=envelope(Shutdown(), "supervisor").body),)


def another_answer(said: Outgoing) -> tuple[Outgoing, ...]:
    """An answer to the same request, of a kind that answers others."""
    if said.kind == "Signed":
        request = to_session.decode(bytes(said.body)).request
        return (envelope(to_session.Stored(request, "unconfirmed"), said.to),)
    if said.kind == "PeerAnswer":
        request = to_session.decode(bytes(said.body)).request
        return (envelope(to_session.PeerUnreachable(request, "a lie"), said.to),)
    return (said,)


@dataclass
class Misbehaving:
    """Changes what one kind of actor says, once."""

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
            if said.kind in SPEAKS[self.kind] and (instead := self.change(said)) != (said,):
                self.done = True
                return [msgspec.structs.replace(step, out=(*out[:place], *instead, *out[place + 1 :]))]
        return None
