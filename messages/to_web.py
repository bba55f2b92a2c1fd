"""What web accepts: what the gateway answers it, as to a client, and news of a gateway that was restarted."""

from typing import Annotated

from msgspec import Meta

from .base import CONTROL_LIMIT, LENGTH_BYTES, Decoder, Message
from .from_supervisor import ActorRestarted, Undeliverable
from .types import RequestId

MAX_GATEWAY_FRAMES_BYTES = 2 * (CONTROL_LIMIT + LENGTH_BYTES)
"""A batch of frames as the gateway makes it, and the frame that filled it."""


class GatewayFrames(Message):
    """From the gateway: frames of the control protocol, complete ones, for this connection of the page.

    The gateway sends the next ones when FramesRead has come.
    """

    connection: RequestId
    frames: Annotated[bytes, Meta(max_length=MAX_GATEWAY_FRAMES_BYTES)]


WebInbox = GatewayFrames | ActorRestarted | Undeliverable
decode: Decoder[WebInbox] = Decoder(WebInbox)
