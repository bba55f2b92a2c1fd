"""The entry of a swarm that uses WebSocket and QUIC."""

from .. import main
from ..quic import warm_up as warm_up_quic
from . import warm_up as warm_up_websocket

__all__ = ["main", "warm_up"]


def warm_up() -> None:
    """Import everything, with both transports."""
    warm_up_quic()
    warm_up_websocket()
