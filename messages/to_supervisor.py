"""What the supervisor accepts as a receiver: requests about the tree of actors, never about pairings."""

from .base import Decoder, Message
from .types import Reason, RequestId


class ListActors(Message):
    """From the gateway: describe every actor. Answer: to_gateway.Actors.

    Without `memory` it comes at once; reading the memory of a thousand processes takes a second.
    """

    request: RequestId
    memory: bool = True


class Reload(Message):
    """From the gateway: read the settings again, and change what differs. Answer: to_gateway.Reloaded.

    A repeat has the same `request` and gets the same answer. With `check` nothing is changed.
    """

    request: RequestId
    check: bool = False


class Shutdown(Message):
    """From the gateway: end the sessions and stop the node. No answer. `reason` goes into the log."""

    reason: Reason = ""


class AreYouAlive(Message):
    """From metrics and the gateway: show that the supervisor's loop runs. Answer: from_supervisor.Alive."""

    request: RequestId


SupervisorInbox = ListActors | Reload | Shutdown | AreYouAlive
decode: Decoder[SupervisorInbox] = Decoder(SupervisorInbox)
