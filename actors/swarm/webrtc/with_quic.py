"""The entry of a swarm that uses WebRTC and QUIC."""

from .. import main
from ..quic import warm_up as warm_up_quic
from . import warm_up as warm_up_webrtc

__all__ = ["main", "warm_up"]


def warm_up() -> None:
    """Import everything, with all these transports."""
    warm_up_quic()
    warm_up_webrtc()
