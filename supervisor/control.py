"""What the supervisor and its fork server say to each other, one message a packet."""

from ..messages.base import Decoder, Message

MAX_FDS = 9
"""The channel and up to eight others."""
LARGEST = 4096


class Fork(Message):
    """Fork a child; the descriptors beside it are its channel and ChildSpec.fds."""

    number: int
    entry: str
    sandboxed: bool
    network: bool


class Forked(Message):
    """It runs; the descriptor beside this is its pidfd."""

    number: int
    pid: int


class ForkFailed(Message):
    """The system made no process."""

    number: int
    errno: int


class Exited(Message):
    """A child ended; `status` is negative for a signal."""

    pid: int
    status: int


decode_reply: Decoder[Forked | ForkFailed | Exited] = Decoder(Forked | ForkFailed | Exited)
