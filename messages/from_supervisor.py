"""Messages that the supervisor itself sends, each to several receivers.

They report what only the supervisor sees: that a session ended, that an actor restarted, that an envelope
could not be delivered. The receivers' unions contain them.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from .base import Message
from .child_protocol import ActorName, KindName
from .types import Bytes16, Outcome, Reason, RequestId, Role, SessionId, ShortText

ActorNames = Annotated[tuple[ActorName, ...], Meta(max_length=16)]


class SandboxGap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Actors whose processes run without a step of their sandbox: `why` the system did not have it.

    `actors`: their kinds. `is_made_good`: other steps forbid them the same.
    """

    step: ShortText
    why: Annotated[str, Meta(max_length=64)]
    actors: ActorNames
    is_made_good: bool = False


SandboxGaps = Annotated[tuple[SandboxGap, ...], Meta(max_length=16)]


class SessionEnded(Message):
    """To vault, swarm, discovery, gateway and metrics: a session is over; forget what is kept for it.

    `outcome` is the one in the session's last step, or `crashed` if the supervisor has given it up.
    """

    session: SessionId
    role: Role
    outcome: Outcome
    poison: bool = False
    """One input killed it three times. The swarm avoids the peer that sent it a frame last, for a while."""


class ActorDown(Message):
    """To gateway and metrics (standing until it is back): an actor that reports readiness has ended.

    To metrics also of any other that a reload has taken away.

    What it reported counts no longer. `keeps_state`: it goes on from a checkpoint, so once it is back
    (ActorRestarted) its last report counts again; any other actor reports anew.
    """

    actor: ActorName
    keeps_state: bool


class ActorRestarted(Message):
    """To sessions and discovery: the actor restarted and lost the requests that it had not answered.

    The receiver sends them again. To gateway and metrics: it is back (ActorDown). To web: so is the gateway.
    """

    actor: ActorName


class Alive(Message):
    """To gateway and metrics: the answer to AreYouAlive.

    `down`: actors that are not running at this moment. `silent`: actors that have not answered for two
    heartbeats, and are killed for it after a third. Sessions are in neither.
    """

    request: RequestId
    down: ActorNames = ()
    silent: ActorNames = ()
    sandbox_gaps: SandboxGaps = ()


class Undeliverable(Message):
    """To the gateway, the swarm or web: the envelope `id` of theirs was not delivered."""

    to: ActorName
    kind: KindName
    id: Bytes16
    busy: bool
    """True: the receiver, or the number of sessions, is at its bound; try again later.

    False: no such actor.
    """
    reason: Reason = ""
