"""The entry of a swarm that uses WebRTC and WebSocket."""

from .. import main
from ..websocket import warm_up as warm_up_websocket
from . import warm_up as warm_up_webrtc

__all__ = ["main", "warm_up"]


def warm_up() -> None:
    """Import everything, with all these transports."""
    warm_up_websocket()
    warm_up_webrtc()
