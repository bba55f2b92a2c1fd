"""DTLS 1.2 and later of one connection, by OpenSSL, sans-IO (RFC 6347; RFC 8827 for WebRTC).

Datagrams go in and come out; none that comes out has more than MAX_DATAGRAM_BYTES. Both sides show a
certificate, and any will do: who the peer is, Noise says over it. Owns the contexts of OpenSSL, and the
cookies by which a stranger shows its address. Never touches a socket or waits: the caller asks for the time
of the next repetition.
"""

import hmac
import os
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from .certificate import Certificate, fingerprint_of
from .wire import WebRtcError

MAX_DATAGRAM_BYTES: Final = 1200
OVERHEAD_BYTES: Final = 37
"""Of a record with AES-GCM, around what it carries: header, nonce, tag."""
_RECORD_HEADER_BYTES: Final = 13
_MAX_PLAIN_BYTES: Final = 16384
_CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES256-GCM-SHA384"
)
_SRTP: Final = b"SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80"
"""Of the media that nobody sends: go-libp2p ends a handshake in which it is not agreed upon."""
_HANDSHAKE, _DATA, _CLIENT_HELLO = 22, 23, 1


def is_dtls(datagram: bytes) -> bool:
    """Return whether a datagram is DTLS, by its first byte (RFC 7983)."""
    return 20 <= datagram[0] < 64


def is_client_hello(datagram: bytes) -> bool:
    """Return whether a datagram begins with the beginning of a handshake."""
    return (
        len(datagram) > 2 * _RECORD_HEADER_BYTES
        and datagram[0] == _HANDSHAKE
        and datagram[_RECORD_HEADER_BYTES] == _CLIENT_HELLO
        and datagram[3:5] == b"\x00\x00"  # the epoch
        and datagram[19:22] == b"\x00\x00\x00"  # where the fragment begins
    )


def new_context(own: Certificate) -> SSL.Context:
    """Return a context in which connections show this certificate."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(_CIPHERS)
    context.set_tlsext_use_srtp(_SRTP)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.use_certificate(own.certificate)
    context.use_privatekey(own.key)
    return context


class Cookies:
    """A context whose connections know by a cookie whether a stranger is where it says."""

    def __init__(self, own: Certificate) -> None:
        self._secret = os.urandom(32)
        self._place = b""
        self._context = new_context(own)
        self._context.set_cookie_generate_callback(lambda _ssl: self._cookie())
        self._context.set_cookie_verify_callback(
            lambda _ssl, cookie: hmac.compare_digest(cookie, self._cookie())
        )

    def _cookie(self) -> bytes:
        return hmac.digest(self._secret, self._place, "sha256")

    def judge(self, datagram: bytes, place: bytes) -> "DtlsSession | bytes":
        """Return a session for the first packet of a stranger at `place` with the cookie, else an answer.

        The answer, which may be empty, asks for the cookie; nothing is remembered of it.
        """
        self._place = place
        session = DtlsSession(self._context, is_client=False)
        session.put(datagram)
        if session.listen():
            return session
        return b"".join(session.datagrams())


class DtlsSession:
    """One side of one session."""

    def __init__(self, context: SSL.Context, *, is_client: bool) -> None:
        self._ssl = SSL.Connection(context)
        self._ssl.set_ciphertext_mtu(MAX_DATAGRAM_BYTES)
        if is_client:
            self._ssl.set_connect_state()
        else:
            self._ssl.set_accept_state()
        self.is_established = False

    @property
    def peer_fingerprint(self) -> bytes:
        """The multihash of the peer's certificate, once the session is established."""
        certificate: Any = self._ssl.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise WebRtcError("no certificate")
        return fingerprint_of(certificate.public_bytes(serialization.Encoding.DER))

    def put(self, datagram: bytes) -> None:
        """Take a datagram without looking at it."""
        if datagram:
            self._ssl.bio_write(datagram)

    def listen(self) -> bool:
        """Return whether what was put has the right cookie; if not, the answer is among the datagrams."""
        try:
            self._ssl.DTLSv1_listen()
        except SSL.Error:
            return False
        return True

    def advance(self) -> list[bytes]:
        """Go on with what was put; return what the peer has sent, one item for each record.

        Raises WebRtcError when the session has failed, or the peer has ended it.
        """
        received = []
        try:
            if not self.is_established:
                self._ssl.do_handshake()
                self.is_established = True
            while True:
                received.append(self._ssl.recv(_MAX_PLAIN_BYTES))
        except SSL.WantReadError:
            return received
        except SSL.ZeroReturnError:
            raise WebRtcError("the peer has ended the connection") from None
        except SSL.Error:
            raise WebRtcError("DTLS has failed") from None

    def send(self, data: bytes) -> None:
        """Seal one record."""
        try:
            self._ssl.send(data)
        except SSL.Error:
            raise WebRtcError("DTLS has failed") from None

    def datagrams(self) -> list[bytes]:
        """Return what is to be sent: of a handshake as many records in a datagram as fit, of data one.

        Some read one record of data from each datagram, and the next one when another datagram comes
        (libdatachannel, which js-libp2p uses).
        """
        found: list[bytes] = []
        try:
            data = self._ssl.bio_read(1 << 20)
        except SSL.WantReadError:
            return found
        start = at = 0
        while at < len(data):
            end = at + _RECORD_HEADER_BYTES + int.from_bytes(data[at + 11 : at + 13], "big")
            is_data = _DATA in (data[at], data[start])
            if at > start and (is_data or end - start > MAX_DATAGRAM_BYTES):
                found.append(data[start:at])
                start = at
            at = end
        found.append(data[start:])
        return found

    def repeat_after_s(self) -> float | None:
        """Return after how many seconds `repeat` is due; None: nothing waits for an answer."""
        return None if self.is_established else self._ssl.DTLSv1_get_timeout()

    def repeat(self) -> None:
        """Send again what got no answer, if it is time. Raises WebRtcError."""
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error:
            raise WebRtcError("no answer") from None

    def free(self) -> None:
        """Let go of what OpenSSL holds, some 70 KiB, before Python collects garbage; it is of no use then."""
        del self._ssl

    def shut_down(self) -> None:
        """Tell the peer that the session ends."""
        try:
            self._ssl.shutdown()
        except SSL.Error:
            return
