"""WebSocket, over wsproto and h11: a transport of the swarm's host (docs/decisions/0011).

It gives a raw byte stream, on which Noise and Yamux run as over TCP. This package is also the entry of a
swarm that uses WebSocket: it imports wsproto before the sandbox closes, and opens the roots of the system.
`with_quic.py` is the entry of a swarm that uses QUIC too. A swarm without WebSocket imports nothing
of this.

In reading order:

transport.py       the transport and its listeners, as the library expects them
stream.py          one connection as a stream of bytes, and what keeps it alive
frames.py          bytes as WebSocket frames, and back
http_upgrade.py    the HTTP request with which a WebSocket begins, on both sides
forwarded.py       who is behind a reverse proxy
upgrade_limits.py  how many connections may be at this stage
tls.py             certificates: this node's, and those that it trusts
wire.py            what is configured, and the error of all of these
"""

from .. import main
from .. import warm_up as warm_up_swarm

__all__ = ["main", "warm_up"]


def warm_up() -> None:
    """Import everything, as the swarm's `warm_up` does, and WebSocket with it."""
    warm_up_swarm()
    from . import tls, transport  # noqa: F401, host.py then finds it imported

    tls.open_system_roots()
