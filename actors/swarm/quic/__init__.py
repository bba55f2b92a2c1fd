"""QUIC v1, over aioquic: a transport of the swarm's host (docs/decisions/0009).

This package is also the entry of a swarm that uses QUIC: it imports aioquic before the sandbox closes. A
swarm without QUIC runs from the package above and imports nothing of this one.

In reading order:

transport.py         the transport and its listeners, as the library expects them
endpoint.py          one UDP socket: which packet belongs where
admission.py         the first packet of a handshake: accepted, answered, or dropped
connection.py        one connection: its timer, and the peer's identity
stream_table.py      the streams of one connection
stream.py            one stream
wire.py              what a connection needs of its endpoint
bounded_quic.py      aioquic's connection, bounded and corrected
receive_credit.py    what a peer may send before it is read
reset_tokens.py      stateless resets, by which a restart is noticed
certificates.py      the libp2p TLS extension
"""

from ....import_stubs import stub_unused_modules
from .. import main
from .. import warm_up as warm_up_swarm

__all__ = ["UNUSED_BY_AIOQUIC", "main", "warm_up"]

UNUSED_BY_AIOQUIC = ("OpenSSL", "service_identity")
"""With these aioquic checks names and chains of certificates; a peer's is checked by certificates.py."""


def warm_up() -> None:
    """Import everything, as the swarm's `warm_up` does, and QUIC with it."""
    warm_up_swarm()
    with stub_unused_modules(UNUSED_BY_AIOQUIC):
        from . import transport  # noqa: F401, host.py then finds it imported
