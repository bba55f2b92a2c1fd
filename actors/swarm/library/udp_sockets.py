"""UDP sockets of the transports over UDP: bound without waiting, of one IP version, with zones.

Never sends or receives: the endpoints of quic/ and webrtc/ do.
"""

import socket
from typing import Any, Final

from ....protocol.multiaddrs import Endpoint

SocketAddress = tuple[Any, ...]
"""An address as the socket names it; the first two parts are host and port."""
_BUFFER_BYTES: Final = 2 * 1024 * 1024


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound. Raises OSError.

    `host` ends with % and the number of its interface where it is link-local.
    """
    ip, _, zone = host.partition("%")
    is_v6 = ":" in host
    made = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        if is_v6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        made.bind((ip, port, 0, int(zone)) if zone else (ip, port))
    except BaseException:
        made.close()
        raise
    return made


def source_for(target: Endpoint) -> str:
    """Return the host on which a socket is bound that only dials `target`; offline there is only loopback."""
    is_loopback = target.ip is not None and target.ip.is_loopback
    if target.family == "ip6":
        return "::1" if is_loopback else "::"
    return "127.0.0.1" if is_loopback else "0.0.0.0"  # noqa: S104, it takes no connections


def socket_address(target: Endpoint) -> SocketAddress:
    """Return an address in the form in which the socket names it when a packet comes from there."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    host = f"{target.host}%{target.zone}" if target.zone else target.host
    found = socket.getaddrinfo(host, target.port, type=socket.SOCK_DGRAM, flags=flags)
    return found[0][4]
