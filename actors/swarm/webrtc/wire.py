"""What a connection needs of the endpoint below it, and the errors of the whole package."""

from typing import TYPE_CHECKING, Protocol

from ....messages.errors import SpacedriveNodeError
from ..library.udp_sockets import SocketAddress

if TYPE_CHECKING:
    from .connection import WebRtcConnection


class WebRtcError(SpacedriveNodeError, OSError):
    """The connection was not made, or has ended. The text is short and quotes nothing of the peer."""


class MalformedError(SpacedriveNodeError, ValueError):
    """The peer sent what the protocol does not allow. The text is short and quotes nothing of it."""


class Wire(Protocol):
    """What a connection needs of its endpoint."""

    def send(self, datagram: bytes, address: SocketAddress) -> None:
        """Send one datagram; it may be lost."""

    def handle_ready(self, connection: "WebRtcConnection") -> None:
        """The peer has proved its id."""

    def handle_end(self, connection: "WebRtcConnection") -> None:
        """The connection has ended, whichever way."""
