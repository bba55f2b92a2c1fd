"""Certificates of TLS under a WebSocket: this node's, and the roots by which a server's is checked.

Owns the contexts. The file with the roots of the system is opened before the sandbox closes, and read at the
first dial under TLS, which most nodes never make: a context with them takes a MiB. The files that are
configured are opened in the sandbox, which allows exactly them. A renewed certificate is read when the swarm
starts next. Who the peer is, Noise says; TLS is for proxies and browsers.
"""

import re
import ssl
from contextlib import suppress
from io import FileIO
from typing import Final

from ....messages.errors import SpacedriveNodeError
from .wire import WebSocketOptions

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
"""One root in a file of them; what stands between them is for people."""
_system_roots: FileIO | None = None


class CertificateFileError(SpacedriveNodeError):
    """A configured file cannot be used. The text names it and says why."""


def open_system_roots() -> None:
    """Open the file with the roots of the system, for `client_context`."""
    global _system_roots
    path = ssl.get_default_verify_paths().cafile
    with suppress(OSError):
        _system_roots = None if path is None else FileIO(path)


def client_context(options: WebSocketOptions) -> ssl.SSLContext:
    """Return the context of dials: the name is checked, by the system's roots and those that are configured.

    Raises CertificateFileError.
    """
    context = _limited(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    _load_system_roots(context)
    if options.ca is not None:
        try:
            context.load_verify_locations(options.ca)
        except OSError as error:
            raise CertificateFileError(f"cannot use the roots in {options.ca}: {_reason(error)}") from None
    return context


def _load_system_roots(context: ssl.SSLContext) -> None:
    """Have the roots of the system trusted. Of a file that is broken those before that place are."""
    global _system_roots
    if _system_roots is None:
        context.load_default_certs()
        return
    with _system_roots as file:
        found = _CERTIFICATE.findall(file.readall())
    _system_roots = None
    if found:
        with suppress(ssl.SSLError):
            context.load_verify_locations(cadata=b"\n".join(found).decode("ascii"))


def server_context(options: WebSocketOptions) -> ssl.SSLContext:
    """Return the context of listeners, with this node's certificate. Raises CertificateFileError."""
    if options.certificate is None or options.key is None:
        raise CertificateFileError("to listen on TLS a certificate and its key are needed")
    context = _limited(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.num_tickets = 0  # nobody resumes
    try:
        # Without a password function OpenSSL would ask at the terminal.
        context.load_cert_chain(options.certificate, options.key, password=lambda: "")
    except OSError as error:
        files = f"{options.certificate} with the key {options.key}"
        raise CertificateFileError(f"cannot use the certificate {files}: {_reason(error)}") from None
    return context


def _limited(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not in PEM").replace("_", " ").lower()
    return error.strerror or type(error).__name__
