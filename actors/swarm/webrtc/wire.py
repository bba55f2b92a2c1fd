"""What a connection needs of the endpoint below it, and the errors of the whole package."""

from typing import Protocol

from ....messages.errors import SpacedriveNodeError
from ..library import muxed_connection
from ..library.udp_sockets import SocketAddress


class WebRtcError(SpacedriveNodeError, OSError):
    """The connection was not made, or has ended. The text is short and quotes nothing of the peer."""


class MalformedError(SpacedriveNodeError, ValueError):
    """The peer sent what the protocol does not allow. The text is short and quotes nothing of it."""


class Wire(muxed_connection.Wire, Protocol):
    """What a connection needs of its endpoint."""

    def send(self, datagram: bytes, address: SocketAddress) -> None:
        """Send one datagram; it may be lost."""
