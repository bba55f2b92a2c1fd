"""A bound on what all connections of this process together hold unread, whatever their transport.

A peer sends within the credit of its connection; a hundred connections are another matter. When all hold too
much, the one that holds most goes. Owns the remembered figure of each connection; the true one is the
connection's. Implements docs/protocol.md, "Limits".
"""

from typing import Protocol
from weakref import WeakKeyDictionary

MAX_TOTAL_UNREAD_BYTES = 64 * 1024 * 1024


class Holder(Protocol):
    """A multiplexed connection."""

    @property
    def unread(self) -> int:
        """Bytes that its peer has sent and nobody here has read."""

    def drop(self) -> None:
        """Close it from outside."""


_unread: "WeakKeyDictionary[Holder, int]" = WeakKeyDictionary()
"""Unread bytes of each connection when it last counted, or at the last full count. By now it may be less."""


def largest_if_too_much(connection: Holder) -> Holder | None:
    """Count a connection again; return the one that holds most if all together hold too much, else None.

    The others are counted again only if the sum of the remembered figures is too much: a count walks over
    all streams, and this runs for each frame.
    """
    _unread[connection] = connection.unread
    if sum(_unread.values()) > MAX_TOTAL_UNREAD_BYTES:
        for other in list(_unread):
            _unread[other] = other.unread
        if sum(_unread.values()) > MAX_TOTAL_UNREAD_BYTES:
            return max(_unread, key=lambda one: _unread[one])
    return None
