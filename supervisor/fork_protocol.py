"""The messages between the supervisor and its fork server, one in each packet, with descriptors attached."""

from ..messages.base import Decoder, Message
from ..messages.child_protocol import Ping, Pong
from .child_specs import Sandbox

MAX_FDS = 9
"""The channel and up to eight of ChildSpec.fds."""
MAX_PACKET_BYTES = 64 * 1024
"""A Sandbox names paths, of up to 4096 bytes each."""


class Fork(Message):
    """Request: fork a child. The attached descriptors are its channel and ChildSpec.fds.

    `kind` and `title` are how the system shows it (process_title.py) until its Start names it.
    """

    number: int
    kind: str
    title: str
    entry: str
    sandbox: Sandbox | None


class Serving(Message):
    """The fork server takes requests. Attached: its stat and, where there is one, its smaps_rollup."""


class Forked(Message):
    """Reply: the child runs. Attached: its pidfd and, where there is one, its smaps_rollup.

    The child itself has opened /proc/<pid>/smaps_rollup: of a process that cannot be dumped nobody else but
    root may.
    """

    number: int
    pid: int


class ForkFailed(Message):
    """Reply: the system made no process."""

    number: int
    errno: int


class Exited(Message):
    """A child ended; `status` is negative for a signal."""

    pid: int
    status: int


Request = Fork | Ping
decode_request: Decoder[Request] = Decoder(Request)
Reply = Serving | Forked | ForkFailed | Exited | Pong
decode_reply: Decoder[Reply] = Decoder(Reply)
