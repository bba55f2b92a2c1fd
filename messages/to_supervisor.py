"""What the supervisor itself accepts as a receiver: requests about the tree, never about pairings."""

from .base import Decoder, Message
from .types import Reason, RequestId


class ListActors(Message):
    """From the gateway. Answer: to_gateway.Actors."""

    request: RequestId


class Shutdown(Message):
    """From the gateway: drain and stop the node."""

    reason: Reason = ""


class AreYouAlive(Message):
    """From metrics, for /livez. Answer: to_metrics.Alive."""

    request: RequestId


SupervisorInbox = ListActors | Shutdown | AreYouAlive
decode: Decoder[SupervisorInbox] = Decoder(SupervisorInbox)
