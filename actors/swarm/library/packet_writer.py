"""Sends the packets of one connection whole: nobody who gives up tears one in two.

Defect (0.8.1, security/noise/io.py:68): whoever writes seals a packet, which moves the counters of Noise on,
and then sends it. If that is cancelled in between, or when a part has been sent, the other side can open
nothing more: the connection is lost, with all its streams. The same holds of the frames of a WebSocket and
the records of its TLS, which are below.
Test: tests/swarm/test_cancelled_writes.py.

Owns the frames that wait, whose turn it is to write, and how long a packet may take. Never looks into
frames. Who waits for its turn may give up at any time. Who has it sends its packet to the end, within a
bound; the end of the connection ends that too.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.io.exceptions import ConnectionClosedError

from .locks import ReadyLock

MAX_WRITE_S: Final = 10.0
"""For the socket to take one packet, of some 64 KiB. A peer that reads takes it far sooner."""


class PacketWriter:
    """The packets of one connection.

    `send` seals and sends one; `give_up` is called when the peer takes nothing any more.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], give_up: Callable[[], None]) -> None:
        self.delayed = b""
        """Frames that go out with the next ones."""
        self._send = send
        self._give_up = give_up
        self._turn = ReadyLock()
        self._is_broken = False
        """A packet was not sent to its end: none can be after it."""

    async def write(
        self, frames: bytes, *, if_given_up: bool = False, timeout_s: float | None = None
    ) -> None:
        """Send the frames that were delayed, and these, as one packet. Raises what `send` raises.

        With `if_given_up` they are delayed if whoever writes gives up before its turn.
        """
        has_turn = False
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            async with self._turn:
                has_turn = True
                packet, self.delayed = self.delayed + frames, b""
                if packet:  # others may have taken what was delayed
                    await self._send_whole(packet, MAX_WRITE_S if timeout_s is None else timeout_s)
        except trio.Cancelled:
            if if_given_up and not has_turn:
                self.delayed += frames
            raise

    async def flush(self) -> None:
        """Send the frames that were delayed."""
        if self.delayed:
            await self.write(b"")

    async def _send_whole(self, packet: bytes, timeout_s: float) -> None:
        if self._is_broken:
            raise ConnectionClosedError("the connection cannot be written to")
        self._is_broken = True
        with trio.CancelScope(deadline=trio.current_time() + timeout_s, shield=True) as limit:
            await self._send(packet)
            self._is_broken = False
        if limit.cancelled_caught:
            self._give_up()
            raise ConnectionClosedError("the peer takes nothing")
