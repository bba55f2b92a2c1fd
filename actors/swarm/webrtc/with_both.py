"""The entry of a swarm that uses WebRTC and WebSocket and QUIC."""

from .. import main
from ..websocket.with_quic import warm_up as warm_up_others
from . import warm_up as warm_up_webrtc

__all__ = ["main", "warm_up"]


def warm_up() -> None:
    """Import everything, with all these transports."""
    warm_up_others()
    warm_up_webrtc()
