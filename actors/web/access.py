"""Who may ask: the rules by which a request of a foreign page, or without the token, is refused.

The page is for one browser on this host, or at the other end of a tunnel. Every other page in that browser is
a stranger that can send requests here too, but cannot choose these headers:

    Host              the name in the address bar: a name that DNS leads here (rebinding) is none of this host
    Origin            the page that asks; sent with every request that changes something
    Sec-Fetch-Site    the same for requests without Origin, by browsers since 2023
    Authorization     only a script of a page that knows the token can set it; there is no cookie that a
                      browser would send by itself, to this port or to others of this host

Pure: decides about one request, and keeps nothing. docs/security.md, "The page".
"""

import hmac
import re

from ...messages.actor_configs import page_token_digest
from ..http_server import Header, Request, Response

_OWN_HOSTS = re.compile(rb"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
"""With any port: that of a tunnel is another one."""
_BEARER = b"bearer "
_MAX_TOKEN_BYTES = 1024

SECURITY_HEADERS: tuple[Header, ...] = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'",
    ),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)
"""With every response. What HttpServer adds to each: no-store, nosniff."""


def refusal(request: Request, *, is_call: bool, token_digest: str) -> Response | None:
    """Return the response to a request that may not be answered; None: it may.

    `is_call`: it asks the node something, and is not for a file of the page, which holds nothing secret.
    """
    host = request.header(b"host")
    if host is None or not _OWN_HOSTS.fullmatch(host):
        return Response(421, b"this page is for http://127.0.0.1, localhost and [::1] only\n")
    if is_foreign(request, host, is_call=is_call):
        return Response(403, b"not for other pages\n")
    if is_call and not has_token(request, token_digest):
        return Response(401, b"the token is missing or wrong\n", headers=(("WWW-Authenticate", "Bearer"),))
    return None


def is_foreign(request: Request, host: bytes, *, is_call: bool) -> bool:
    """Return whether another page asks, or one may: a request that changes something names its origin."""
    origin = request.header(b"origin")
    if origin is not None and origin.lower() != b"http://" + host.lower():
        return True
    if request.method not in (b"GET", b"HEAD") and origin is None:
        return True
    site = request.header(b"sec-fetch-site")
    if is_call:
        return site not in (None, b"same-origin")
    if site in (None, b"same-origin", b"none"):
        return False
    # A link to the page may be anywhere, but no other page may load it, or a file of it, into itself.
    return (request.header(b"sec-fetch-mode"), request.header(b"sec-fetch-dest")) != (
        b"navigate",
        b"document",
    )


def has_token(request: Request, token_digest: str) -> bool:
    """Return whether the request shows the token; compared by digest, in constant time."""
    value = request.header(b"authorization") or b""
    scheme, token = value[: len(_BEARER)], value[len(_BEARER) :]
    if scheme.lower() != _BEARER or len(token) > _MAX_TOKEN_BYTES:
        return False
    return hmac.compare_digest(page_token_digest(token), token_digest)
