"""What the supervisor and its fork server say to each other, one message a packet."""

from ..messages.base import Decoder, Message
from .child_specs import Sandbox

MAX_FDS = 9
"""The channel and up to eight others."""
LARGEST = 64 * 1024
"""Bytes: a Sandbox names paths, which may have 4096 each."""


class Fork(Message):
    """Fork a child; the descriptors beside it are its channel and ChildSpec.fds."""

    number: int
    entry: str
    sandbox: Sandbox | None


class Serving(Message):
    """The fork server is there; the descriptor beside this, if any, is its account of memory."""


class Forked(Message):
    """It runs; the descriptors beside this are its pidfd and, where there is one, its account of memory.

    The account is /proc/<pid>/smaps_rollup as the child itself has opened it: of a process that cannot be
    dumped nobody else but root may.
    """

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


Reply = Serving | Forked | ForkFailed | Exited
decode_reply: Decoder[Reply] = Decoder(Reply)
