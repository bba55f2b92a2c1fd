"""Sees each message of a pairing as it leaves one actor and reaches another, and can hold it there.

`sends` is the step that contains the message, before the supervisor reads it: it has not left. `gets` is the
input with the message, before the actor has it: it has arrived, and nothing has followed.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from spacedrive_node.actors.session.state import restore
from spacedrive_node.messages import to_discovery, to_session, to_swarm, to_vault
from spacedrive_node.messages.base import MalformedMessageError
from spacedrive_node.messages.child_protocol import Deliver, Step
from spacedrive_node.messages.peer_protocol import decode_wire
from spacedrive_node.tests.harness.nodes import InterceptingSpawner


class Sighting(NamedTuple):
    """One message at one actor. `number` counts the messages of its name there, from 1."""

    actor: str
    event: str
    """`sends`, `gets`, or `is` for a phase that a session has entered."""
    name: str
    """The name of the wire message, of the Kademlia operation, or of the phase."""
    number: int


SightingHandler = Callable[[Sighting], Awaitable[None]]


async def ignore(_sighting: Sighting) -> None:
    return


@dataclass
class MessageTap(InterceptingSpawner):
    """Awaits `on_sighting` with each sighting. The frames of that actor wait meanwhile."""

    on_sighting: SightingHandler = ignore
    sightings: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    phases: dict[str, str] = field(default_factory=dict)
    listening: tuple[str, ...] = ()
    """The addresses on which the swarm listens, which may differ from those that it announces."""
    _operations: dict[int, str] = field(default_factory=dict)

    async def intercept(self, actor: str, message: Deliver | Step) -> None:
        try:
            seen = self._messages(actor, message)
        except MalformedMessageError:
            return  # its receiver handles it
        for event, name in seen:
            self.sightings[actor, event, name] += 1
            await self.on_sighting(Sighting(actor, event, name, self.sightings[actor, event, name]))

    def _messages(self, actor: str, message: Deliver | Step) -> list[tuple[str, str]]:
        if isinstance(message, Deliver):
            name = self._arriving(message)
            return [] if name is None else [("gets", name)]
        found = [("sends", name) for out in message.out if (name := self._leaving(out.kind, out.body))]
        if actor.startswith("session") and message.checkpoint is not None:
            phase = restore(message.checkpoint).phase
            if self.phases.get(actor) != phase:
                self.phases[actor] = phase
                found.append(("is", phase))
        return found

    def _leaving(self, kind: str, body: msgspec.Raw) -> str | None:
        if kind not in ("Ask", "PeerReply", "KadRequest", "Listening"):
            return None
        match to_swarm.decode(bytes(body)):
            case to_swarm.Listening(addresses=addresses):
                self.listening = addresses
            case to_swarm.Ask(frame=frame) | to_swarm.PeerReply(frame=frame):
                return _name(frame)
            case to_swarm.KadRequest(request=request, op=operation):
                self._operations[request] = operation
                return operation
        return None

    def _arriving(self, message: Deliver) -> str | None:
        body = bytes(message.body)
        match message.kind:
            case "PeerRequest" | "PeerAnswer":
                return _name(to_session.decode(body).frame)
            case "SettleRequest":
                return _name(to_vault.decode(body).frame)
            case "KadReply":
                return self._operations.pop(to_discovery.decode(body).request, None)
        return None


def _name(frame: bytes) -> str:
    return type(decode_wire(frame)).__name__
