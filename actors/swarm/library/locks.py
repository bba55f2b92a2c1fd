"""Locks for the library that cost nothing while they are free.

Owns which of the library's locks are replaced. Never changes what a lock protects.
"""

from functools import wraps
from typing import Any

import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.rw_lock import ReadWriteLock
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream

_LOCKS = {
    TrioTCPStream: ("read_lock", "write_lock"),
    Yamux: ("streams_lock", "_write_lock"),
    YamuxStream: ("window_lock", "close_lock"),
    ReadWriteLock: ("_readers_lock", "_writer_lock"),
    NetStream: ("_state_lock",),
}
"""By class, the attributes that hold them."""


class ReadyLock:
    """A lock for one task at a time, first come, first served. A free one is taken without a wait."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiting = trio.lowlevel.ParkingLot()

    def locked(self) -> bool:
        """Return whether a task holds it."""
        return self._is_held

    async def acquire(self) -> None:
        """Wait until it is free, and take it."""
        if self._is_held:
            await self._waiting.park()  # whoever wakes this task leaves the lock to it
        self._is_held = True

    def release(self) -> None:
        """Leave it to the task that has waited longest."""
        if self._waiting:
            self._waiting.unpark()
        else:
            self._is_held = False

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_error: object) -> None:
        self.release()


def use_ready_locks() -> None:
    """Let the library take free locks at once, for the whole process.

    Defect (0.8.1, network/stream/net_stream.py:149 and the other places in _LOCKS): a stream and its
    connection are guarded by locks of trio, which are waited for, in one turn of the event loop, also when
    they are free. One exchange takes seventy of them, which is two thirds of its processor time.
    Test: tests/swarm/test_locks.py.
    """
    for guarded, names in _LOCKS.items():
        if not hasattr(guarded.__init__, "__wrapped__"):
            guarded.__init__ = _with_ready_locks(guarded.__init__, names)


def _with_ready_locks(make: Any, names: tuple[str, ...]) -> Any:
    @wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        for name in names:
            setattr(self, name, ReadyLock())

    return init
