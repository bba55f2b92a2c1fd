"""The base of every exception of this project.

A program that embeds a node can catch all of them with one `except`. Imports nothing of the project.
"""

import errno
from typing import Final

_TEMPORARY: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ENOLCK,
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.ENODEV,
        errno.ENETDOWN,
    }
)
"""What the system refuses for want of something that others give back, or that comes later."""


class SpacedriveNodeError(Exception):
    """Raised by this project on purpose. Its text says what happened and never holds a secret."""


class ReportedError(SpacedriveNodeError):
    """The text is for the user. `is_temporary`: to try again later may do, without a change of settings."""

    def __init__(self, text: str, *, is_temporary: bool = False) -> None:
        super().__init__(text)
        self.is_temporary = is_temporary


def is_temporary(error: OSError) -> bool:
    """Return whether what the system has refused may be granted later: room, memory, a port, an interface."""
    return error.errno in _TEMPORARY
