"""By which the peer of a WebRTC connection proves its id: Noise XX over channel 0 (webrtc/webrtc-direct.md).

The listener begins it. Both certificates are part of it, so that nobody stands between the two DTLS ends.
Owns the channel's bytes. Uses the library's Noise, as TCP does.
"""

from typing import Any, Final

import trio
from libp2p.abc import IRawConnection
from libp2p.connection_types import ConnectionType
from libp2p.crypto.keys import KeyPair, PrivateKey
from libp2p.peer.id import ID
from libp2p.security.noise.patterns import PatternXX
from multiaddr import Multiaddr

from . import frames
from .wire import MalformedError, WebRtcError

_PREFIX: Final = b"libp2p-webrtc-noise:"
_MAX_BYTES: Final = 64 * 1024


class HandshakeChannel(IRawConnection):  # type: ignore[misc]
    """Channel 0 as a stream of bytes; `send` gets what goes out."""

    def __init__(self, send: Any, *, is_initiator: bool) -> None:
        self._send = send
        self.is_initiator = is_initiator
        self._raw = bytearray()
        self._arrived = bytearray()
        self._has_ended = False
        self._waiting = trio.lowlevel.ParkingLot()

    def receive(self, data: bytes) -> None:
        """Take what has arrived. Raises MalformedError."""
        self._raw += data
        for _, payload, flag in frames.decode(self._raw):
            self._arrived += payload
            self._has_ended |= flag in (frames.FIN, frames.RESET)
        if len(self._arrived) > _MAX_BYTES:
            raise MalformedError("the handshake is too large")
        self._waiting.unpark_all()

    def end(self) -> None:
        """Nothing more comes."""
        self._has_ended = True
        self._waiting.unpark_all()

    async def read(self, n: int | None = None) -> bytes:
        """Return what has arrived, at most `n` bytes. Raises WebRtcError when nothing more comes."""
        while not self._arrived and n != 0:
            if self._has_ended:
                raise WebRtcError("the handshake was ended")
            await self._waiting.park()
        size = len(self._arrived) if n is None else min(n, len(self._arrived))
        data = bytes(self._arrived[:size])
        del self._arrived[:size]
        return data

    async def write(self, data: bytes) -> None:
        """Write all of `data`."""
        for start in range(0, len(data), frames.MAX_PAYLOAD_BYTES):
            self._send(frames.encode(data[start : start + frames.MAX_PAYLOAD_BYTES]))
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Do nothing: the connection outlives it."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Nobody asks."""
        return None

    def get_transport_addresses(self) -> list[Multiaddr]:
        """Nobody asks."""
        return []

    def get_connection_type(self) -> ConnectionType:
        """It runs over no relay."""
        return ConnectionType.DIRECT


async def prove(
    channel: HandshakeChannel, keys: KeyPair, static: PrivateKey, dialer: bytes, listener: bytes
) -> ID:
    """Return the peer id that the other side has proved, having proved the own one.

    `dialer` and `listener` are the multihashes of the certificates. Raises many types: it has failed.
    """
    pattern = PatternXX(
        ID.from_pubkey(keys.public_key), keys.private_key, static, prologue=_PREFIX + dialer + listener
    )
    if channel.is_initiator:
        session = await pattern.handshake_outbound(channel, None)
    else:
        session = await pattern.handshake_inbound(channel)
    return session.get_remote_peer()
