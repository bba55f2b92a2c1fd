"""WebRTC-direct, over OpenSSL's DTLS: a transport of the swarm's host (docs/decisions/0012).

This package is also the entry of a swarm that uses WebRTC: it imports pyOpenSSL before the sandbox closes.
`with_quic.py`, `with_websocket.py` and `with_both.py` are the entries of swarms that use those too. A swarm
without WebRTC imports nothing of this. Needs the extra `webrtc`.

In reading order:

transport.py         the transport and its listeners, as the library expects them
endpoint.py          one UDP socket: which datagram belongs where
admission.py         a stranger's datagram: answered, taken, or dropped
connection.py        one connection: its timer, the layers below, and the peer's identity
stun.py              who is on the path, answered from the question alone
dtls.py              the encryption of the path
certificate.py       the certificate whose hash an address names
noise_handshake.py   by which the peer proves its id
sctp_association.py  one SCTP association: beginning, end, resets of streams
sctp_receiver.py     what arrives, in order and within a window
sctp_sender.py       what goes out, and again if it is lost
sctp_chunks.py       packets as bytes
stream_table.py      the streams of one connection, and their ids
stream.py            one stream
frames.py            the messages in which a stream's bytes travel
wire.py              what a connection needs of its endpoint, and the errors
"""

from .. import main
from .. import warm_up as warm_up_swarm

__all__ = ["main", "warm_up"]


def warm_up() -> None:
    """Import everything, as the swarm's `warm_up` does, and WebRTC with it."""
    warm_up_swarm()
    from . import transport  # noqa: F401, host.py then finds it imported
    from .certificate import dialer_certificate
    from .dtls import DtlsSession, new_context

    DtlsSession(new_context(dialer_certificate()), is_client=True)  # reads the files of OpenSSL
