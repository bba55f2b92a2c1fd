"""Corrections of the library's TCP: listeners of IPv6 alone, link-local addresses with a zone, sources."""

import socket
from typing import Any

import libp2p.transport.tcp.tcp as library_tcp
import trio
from multiaddr import Multiaddr

_set_reuse_flags = library_tcp._set_reuse_flags
_extract_ip = library_tcp.extract_ip_from_multiaddr


def use_ip6_only_listeners() -> None:
    """Let a listener on an IPv6 address take no IPv4 connections, for the whole process.

    Defect (0.8.1, transport/tcp/tcp.py:73): a listener on /ip6/:: takes IPv4 connections as well, unless the
    system forbids it. Then /ip4/0.0.0.0 with the same port counts as taken, or both share it.
    Test: tests/swarm/test_tcp_sockets.py.
    """

    def set_flags(new_socket: Any) -> None:
        _set_reuse_flags(new_socket)
        if new_socket.family == socket.AF_INET6:
            new_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)

    library_tcp._set_reuse_flags = set_flags


class _ZonedMultiaddr(Multiaddr):  # type: ignore[misc]
    """A link-local address whose zone is not part of its text."""

    zone = ""


def with_zone(address: str, zone: str) -> Multiaddr:
    """Return a multiaddr that is dialled and listened on behind an interface; `zone` "" for any other."""
    multiaddr = _ZonedMultiaddr(address)
    multiaddr.zone = zone
    return multiaddr


def zone_of(address: Multiaddr) -> str:
    """Return the zone of a multiaddr of `with_zone`, for a transport that dials or listens there; or ""."""
    zone: str = getattr(address, "zone", "")
    return zone


def use_zones() -> None:
    """Listen and dial with the zone of `with_zone`, for the whole process.

    Defect (0.8.1, utils/multiaddr_utils.py:40, 123): there are no zones, so that a link-local address can
    neither be dialled nor listened on, and the addresses of a listener there cannot be told. (py-multiaddr
    cannot take an address with /ip6zone apart.)
    Test: tests/swarm/test_tcp_sockets.py.
    """

    def extract_ip(address: Multiaddr) -> str | None:
        host: str | None = _extract_ip(address)
        zone = zone_of(address)
        return f"{host}%{zone}" if zone else host

    def address_of(bound: Any) -> Multiaddr:
        host, port = bound.getsockname()[:2]
        family = "ip6" if bound.family == socket.AF_INET6 else "ip4"
        return Multiaddr(f"/{family}/{host.partition('%')[0]}/tcp/{port}")

    library_tcp.extract_ip_from_multiaddr = extract_ip
    library_tcp._multiaddr_from_socket = address_of


async def connect_from(source: tuple[str, int], target: tuple[str, int]) -> trio.SocketStream:
    """Return a connection that leaves from an address on which this host listens. Raises OSError.

    Defect (0.8.1, transport/tcp/tcp.py:140): where the library cannot bind the source it dials from any port
    without a word, and its error no longer says why a connection failed.
    Test: tests/swarm/test_tcp_sockets.py.
    """
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    made = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        _set_reuse_flags(made)
        await made.bind(source)
        await made.connect(target)
    except BaseException:
        made.close()
        raise
    return trio.SocketStream(made)
