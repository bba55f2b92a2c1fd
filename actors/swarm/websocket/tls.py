"""Certificates of TLS under a WebSocket: this node's, and the roots by which a server's is checked.

Owns the contexts. The roots of the system are read once, before the sandbox closes; the files that are
configured are opened in the sandbox, which allows exactly them. A renewed certificate is read when the swarm
starts next. Who the peer is, Noise says; TLS is for proxies and browsers.
"""

import ssl

from ....messages.errors import SpacedriveNodeError
from .wire import WebSocketOptions

_system_roots: ssl.SSLContext | None = None


class CertificateFileError(SpacedriveNodeError):
    """A configured file cannot be used. The text names it and says why."""


def remember_system_roots() -> None:
    """Read the roots of the system, for `client_context`."""
    global _system_roots
    _system_roots = _limited(ssl.create_default_context())


def client_context(options: WebSocketOptions) -> ssl.SSLContext:
    """Return the context of dials: the name is checked, by the system's roots and those that are configured.

    Raises CertificateFileError.
    """
    global _system_roots
    context, _system_roots = _system_roots or _limited(ssl.create_default_context()), None
    if options.ca is not None:
        try:
            context.load_verify_locations(options.ca)
        except OSError as error:
            raise CertificateFileError(f"cannot use the roots in {options.ca}: {_reason(error)}") from None
    return context


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
