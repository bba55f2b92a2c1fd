"""Stateless resets: how a peer learns that this node does not remember a connection (RFC 9000, 10.3).

A swarm that was killed comes back with the same transport key and the same port. It answers packets of
connections that it has never heard of with a reset, and the peer knows at once what it would otherwise find
out after an idle time-out. Owns the tokens, which follow from the transport key, and the form of a reset.
Pure; never decides when one is sent: endpoint.py does.
"""

import hmac
import os
from typing import Final

TOKEN_BYTES: Final = 16
CONNECTION_ID_BYTES: Final = 8
"""Of the connection ids that this node chooses; always, so that they can be read in any packet."""
_MIN_RESET_BYTES: Final = 21
_MAX_RESET_BYTES: Final = 43
_FIXED_BIT, _LONG_HEADER = 0x40, 0x80
_PURPOSE: Final = b"spacedrive-node quic stateless reset"


class ResetTokens:
    """The tokens of this node's connection ids, the same in each incarnation of the swarm."""

    def __init__(self, seed: bytes) -> None:
        """`seed` is the seed of the transport key; what is derived from it tells nothing about it."""
        self._key = hmac.digest(seed, _PURPOSE, "sha256")

    def token(self, connection_id: bytes) -> bytes:
        """Return the token of a connection id of this node."""
        return hmac.digest(self._key, connection_id, "sha256")[:TOKEN_BYTES]

    def reset_for(self, datagram: bytes) -> bytes | None:
        """Return the answer to a packet of an unknown connection; None if it may get none.

        The answer is shorter than the packet, so that two nodes do not answer each other for ever.
        """
        size = min(len(datagram) - 1, _MAX_RESET_BYTES)
        if size < _MIN_RESET_BYTES or is_long_header(datagram):
            return None
        connection_id = datagram[1 : 1 + CONNECTION_ID_BYTES]
        noise = bytearray(os.urandom(size - TOKEN_BYTES))
        noise[0] = _FIXED_BIT | noise[0] & 0x3F
        return bytes(noise) + self.token(connection_id)


def is_long_header(datagram: bytes) -> bool:
    """Return whether a datagram begins with a packet of a handshake, which names its version."""
    return bool(datagram[0] & _LONG_HEADER)


def is_reset(datagram: bytes, tokens: list[bytes]) -> bool:
    """Return whether a datagram ends with one of a peer's tokens. The time taken does not tell how nearly."""
    if len(datagram) < _MIN_RESET_BYTES:
        return False
    end = datagram[-TOKEN_BYTES:]
    matches = [hmac.compare_digest(end, token) for token in tokens]
    return any(matches)
