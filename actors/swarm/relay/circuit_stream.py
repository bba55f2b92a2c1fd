"""A circuit as the stream of bytes beneath Noise: what a socket is for a direct connection.

Owns the stream to the relay on which the circuit runs, from the relay's OK on. The relay sees nothing but
what Noise has sealed.
"""

from typing import Any

import trio
from libp2p.io.abc import ReadWriteCloser

from ..library import streams
from ..library.connections import RelayedAddress


class CircuitStream(ReadWriteCloser):  # type: ignore[misc]
    """One end of a circuit.

    `named` is who the relay says is at the other end, where that has still to be compared.
    """

    def __init__(self, stream: Any, address: RelayedAddress, named: bytes | None = None) -> None:
        self._stream = stream
        self._address = address
        self.named = named
        self.used_at = trio.current_time()
        """When something was last written, or came."""

    async def read(self, n: int | None = None) -> bytes:
        """Read some bytes; none when the circuit has ended, in whatever way."""
        try:
            data = bytes(await self._stream.read(n))
            self.used_at = trio.current_time()
            return data
        except Exception:  # the library raises a dozen unrelated types for "gone"
            return b""

    async def write(self, data: bytes) -> None:
        """Write all of `data`. Raises ConnectionResetError, as a socket does.

        How long that may take, and that it is not given up half way, is up to the muxers above and below
        (library/packet_writer.py).
        """
        self.used_at = trio.current_time()
        try:
            await self._stream.write(data)
        except Exception as error:  # as in read
            raise ConnectionResetError("the circuit has ended") from error

    async def close(self) -> None:
        """End the circuit."""
        await streams.reset(self._stream)

    def get_remote_address(self) -> RelayedAddress:
        """Return what the other end counts as."""
        return self._address
