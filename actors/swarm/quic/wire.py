"""What a connection needs of the endpoint below it, and the error of both."""

from typing import TYPE_CHECKING, Protocol

from ....messages.errors import SpacedriveNodeError
from ..library import muxed_connection
from ..library.udp_sockets import SocketAddress

if TYPE_CHECKING:
    from .connection import QuicConnection


class QuicError(SpacedriveNodeError, OSError):
    """The connection was not made, or has ended. The text is short and quotes nothing of the peer."""


class Wire(muxed_connection.Wire, Protocol):
    """What a connection needs of its endpoint."""

    @property
    def address(self) -> tuple[str, int]:
        """(IP address, port) of this side. Raises QuicError when it is closed."""
        ...

    def send(self, datagram: bytes, address: SocketAddress) -> bool:
        """Send one datagram, which may be lost; return False if there is no way to the address."""

    def add_route(self, connection_id: bytes, connection: "QuicConnection") -> None:
        """Deliver packets with this connection id."""

    def drop_route(self, connection_id: bytes) -> None:
        """Deliver them no more."""
