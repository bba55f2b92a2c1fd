"""Who is behind a reverse proxy: the header X-Forwarded-For, as far as it can be believed.

Each proxy adds at the end the address from which it was asked. So the list is read from its end, past the
proxies that are configured; the first other address is the client, and what stands before it was written by
the client itself. Pure. `Forwarded` (RFC 7239) is not read: a proxy that writes the one header passes the
other on as a client has sent it.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from ..dial.addresses import unmapped
from .wire import WebSocketError, WebSocketOptions

MAX_PROXIES: Final = 16
"""Addresses that are read, from the end."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(peer: IpAddress, values: Iterable[bytes], options: WebSocketOptions) -> IpAddress:
    """Return who has sent a request that came from `peer`, with these values of X-Forwarded-For.

    Raises WebSocketError when a proxy that is believed has written what is no address.
    """
    if not options.is_proxy(peer):
        return peer
    client = peer
    texts = b",".join(values).decode("latin-1").split(",")
    for text in reversed(texts[-MAX_PROXIES:]):
        if not text.strip():
            continue
        client = _address(text.strip())
        if not options.is_proxy(client):
            break
    return client


def _address(text: str) -> IpAddress:
    """Return the address in 192.0.2.1, 192.0.2.1:4711, 2001:db8::1 or [2001:db8::1]:4711."""
    if text.startswith("[") and "]" in text:
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return unmapped(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        raise WebSocketError("a proxy names no address") from None
