"""What the peer of one connection may send: credit that follows what has been read here (RFC 9000, 4).

Owns the count of unread bytes, for each stream and in all. A byte counts from the moment at which the peer
has used its credit for it, even if it is still missing; and until it is read, or until nobody will read it
any more. Pure.
"""

from collections.abc import Collection
from typing import Final

STREAM_WINDOW_BYTES: Final = 256 * 1024
"""What a peer may have sent to one stream that nobody here has read."""
CONNECTION_WINDOW_BYTES: Final = 1024 * 1024
"""The same for all streams of one connection."""
_MAX_IGNORED_STREAMS: Final = 512


class ReceiveCredit:
    """The unread bytes of one connection."""

    def __init__(self) -> None:
        self.unread = 0
        """Of all streams."""
        self._by_stream: dict[int, int] = {}
        self._ignored: set[int] = set()
        """Streams that nobody here will read, and whose peer may not know it yet."""

    def receive(self, stream_id: int, size: int) -> None:
        """Count `size` bytes of credit that the peer has used for a stream."""
        if size and stream_id not in self._ignored:
            self.unread += size
            self._by_stream[stream_id] = self._by_stream.get(stream_id, 0) + size

    def read(self, stream_id: int, size: int) -> None:
        """Count bytes that were read."""
        left = self._by_stream.pop(stream_id, 0) - size
        if left >= 0:
            self.unread -= size
        if left > 0:
            self._by_stream[stream_id] = left

    def ignore(self, stream_id: int) -> None:
        """Nobody will read this stream any more: what comes counts as read."""
        self.forget(stream_id)
        self._ignored.add(stream_id)

    def forget(self, stream_id: int) -> None:
        """The stream has ended on both sides, or is ignored."""
        self.unread -= self._by_stream.pop(stream_id, 0)

    def is_ignored(self, stream_id: int) -> bool:
        """Return whether nobody will read this stream."""
        return stream_id in self._ignored

    def prune(self, open_streams: Collection[int]) -> None:
        """Drop what is remembered of ignored streams that are gone, once there are many."""
        if len(self._ignored) > _MAX_IGNORED_STREAMS:
            self._ignored.intersection_update(open_streams)

    def stream_limit(self, stream_id: int, received: int, limit: int) -> int:
        """Return up to which byte the peer may send on a stream.

        `received` is what it has used, `limit` what it was told. The limit stays the same until half of the
        window has been read.
        """
        if stream_id in self._ignored:
            return limit
        wanted = received - self._by_stream.get(stream_id, 0) + STREAM_WINDOW_BYTES
        return wanted if wanted - limit >= STREAM_WINDOW_BYTES // 2 else limit

    def connection_limit(self, received: int, limit: int) -> int:
        """Return how many bytes the peer may send on all streams together."""
        wanted = received - self.unread + CONNECTION_WINDOW_BYTES
        return wanted if wanted - limit >= CONNECTION_WINDOW_BYTES // 2 else limit
