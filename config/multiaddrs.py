"""Readers of configured addresses: where to listen, what to announce, and bootstrap peers.

Each returns the address in its one canonical form, read by the very parser that the swarm uses
(protocol/multiaddrs.py): whatever is accepted here can be used, and anything else is refused before a node
starts. Never resolves a name and never opens a socket.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Iterable

from ..messages.types import PeerAddresses
from ..protocol.multiaddrs import MAX_ADDRESS_CHARACTERS, AddressError, Endpoint, is_zoned, parse
from ..protocol.peer_ids import peer_id_from_any_text, peer_id_from_text, peer_id_text
from .values import InvalidValueError, quoted, text_of

_HOSTS = ("ip4", "ip6", "dns", "dns4", "dns6")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_DNSADDR = re.compile(
    r"/dnsaddr/([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,200}[A-Za-z0-9])?)(?:/(?:p2p|ipfs)/([^/]+))?/?"
)
_P2P = ("p2p", "ipfs")
"""Of a peer id; the second is the old name, which some programs still print."""
_MAX_ADDRESSES_PER_PEER = 32
"""As many as a message has room for (messages/types.py)."""


def listen_address(value: object) -> str:
    """Return a multiaddr to listen on."""
    text, endpoint, peer = _read(value)
    if endpoint.ip is None:
        raise InvalidValueError(
            f"{quoted(text)}: to listen needs an address of this machine, /ip4/… or /ip6/…"
        )
    if endpoint.ip.is_multicast:
        raise InvalidValueError(f"{quoted(text)}: nothing can listen on a multicast address")
    if is_zoned(endpoint.ip) and not endpoint.zone:
        raise InvalidValueError(
            f"{quoted(text)}: a link-local address needs its interface, as in /ip6zone/eth0{endpoint}"
        )
    _refuse_peer(text, peer)
    _refuse_certhash(text, endpoint)
    return str(endpoint)


def is_loopback_address(text: str) -> bool:
    """Return whether what `listen_address` has accepted is reached from this host alone."""
    ip = parse(text).ip
    return ip is not None and ip.is_loopback


def announce_address(value: object) -> str:
    """Return a multiaddr under which this node announces itself."""
    text, endpoint, peer = _read(value)
    _refuse_unreachable(text, endpoint)
    _refuse_peer(text, peer)
    _refuse_certhash(text, endpoint)
    if endpoint.zone:
        raise InvalidValueError(f"{quoted(text)}: leave out /ip6zone, which means nothing to others")
    return str(endpoint)


def bootstrap_address(value: object) -> str:
    """Return a multiaddr that ends with the peer id of the node there, or /dnsaddr/<name> that does."""
    address: str | Endpoint
    if (named := _DNSADDR.fullmatch(text_of(value))) is not None:
        text, address, peer = text_of(value), f"/dnsaddr/{named[1].lower()}", named[2]
    else:
        text, address, peer = _read(value)
        _refuse_unreachable(text, address)
    if peer is None:
        raise InvalidValueError(f"{quoted(text)} must end with /p2p/ and the peer id of that node")
    if isinstance(address, Endpoint) and address.transport == "webrtc" and not address.certhash:
        raise InvalidValueError(f"{quoted(text)} must name the certificate of that node, /certhash/…")
    try:
        return f"{address}/p2p/{peer_id_text(peer_id_from_any_text(peer))}"
    except ValueError:
        raise InvalidValueError(
            f"{quoted(text)} does not end with a peer id as a node prints it, such as 12D3KooW…"
        ) from None


def named_peers(texts: Iterable[str]) -> tuple[PeerAddresses, ...]:
    """Return what `bootstrap_address` has accepted, as the actors get it: a peer with all its addresses."""
    found: dict[bytes, dict[str, None]] = {}
    for text in texts:
        address, _, peer = text.rpartition("/p2p/")
        found.setdefault(peer_id_from_text(peer), {})[address] = None
    return tuple(PeerAddresses(peer, tuple(one)[:_MAX_ADDRESSES_PER_PEER]) for peer, one in found.items())


def _read(value: object) -> tuple[str, Endpoint, str | None]:
    """Return a multiaddr as it was given, its endpoint, and the text of its peer id if it has one."""
    text = text_of(value)
    if not text.startswith("/"):
        raise InvalidValueError(f"a multiaddr such as /ip4/192.0.2.1/tcp/7520 is needed, not {quoted(text)}")
    parts = text.rstrip("/").split("/")[1:]
    zone = "".join(f"/{part}" for part in parts[:2]) if parts[:1] == ["ip6zone"] else ""
    if zone:
        parts = parts[2:]
    names = [part.lower() for part in parts]
    if "p2p-circuit" in names:
        raise InvalidValueError(f"{quoted(text)} goes through a relay; name the relay itself, with --relay")
    own = _own_parts(names)
    if own == 4 and {"udp", "ws", "wss", "tls"} & {*names[2:3], *names[4:]}:
        raise InvalidValueError(
            f"{quoted(text)}: this version speaks TCP, QUIC, WebSocket and WebRTC only, as in "
            "/ip4/192.0.2.1/tcp/7520, /ip4/192.0.2.1/udp/7520/quic-v1, /dns4/example.org/tcp/443/tls/ws and "
            "/ip4/192.0.2.1/udp/7521/webrtc-direct"
        )
    if len(parts) < 4 or parts[2] not in ("tcp", "udp") or any(not part for part in parts):
        raise InvalidValueError(f"{quoted(text)} must have a host and a port, as in /ip4/192.0.2.1/tcp/7520")
    if parts[0] not in _HOSTS:
        raise InvalidValueError(f"{quoted(text)} must begin with /ip4, /ip6 or /dns")
    peer = parts[own + 1] if len(parts) == own + 2 and parts[own] in _P2P else None
    if len(parts) > own and peer is None:
        last = "port" if own == 4 else parts[own - 1]
        raise InvalidValueError(f"{quoted(text)}: nothing may follow the {last} but /p2p/ and a peer id")
    try:
        endpoint = parse(f"{zone}/{'/'.join(parts[:own])}")
    except AddressError as error:
        raise InvalidValueError(f"{quoted(text)}: {_reason(parts[1], len(text), error)}") from None
    if endpoint.family == "ip4" and parts[0] == "ip6":  # mapped into IPv6
        raise InvalidValueError(f"{quoted(text)}: write an IPv4 address as one, /ip4/{endpoint.host}/tcp/…")
    if endpoint.ip == _BROADCAST:
        raise InvalidValueError(f"{quoted(text)}: this is the address of all hosts; name one")
    return text, endpoint, peer


def _own_parts(names: list[str]) -> int:
    """Return how many parts of an address belong to its transport; 4 is host and port alone."""
    if names[2:3] == ["udp"]:
        if names[4:5] == ["webrtc-direct"]:
            return 7 if names[5:6] == ["certhash"] else 5
        return 5 if names[4:5] == ["quic-v1"] else 4
    if names[4:5] in (["ws"], ["wss"]):
        return 5
    if names[4:6] == ["tls", "ws"]:
        return 6
    return 8 if names[4:6] == ["tls", "sni"] and names[7:8] == ["ws"] else 4


def _reason(host: str, length: int, error: AddressError) -> str:
    if length > MAX_ADDRESS_CHARACTERS:
        return f"an address may have {MAX_ADDRESS_CHARACTERS} characters"
    if any(unicodedata.category(char).startswith(("L", "N")) and not char.isascii() for char in host):
        return "write the host name in its ASCII form, xn--…"
    return f"not an address that can be used: {error}"


def _refuse_peer(text: str, peer: str | None) -> None:
    if peer is not None:
        raise InvalidValueError(f"{quoted(text)} must not end with /p2p/…: that part is this node's own")


def _refuse_certhash(text: str, endpoint: Endpoint) -> None:
    if endpoint.certhash:
        raise InvalidValueError(f"{quoted(text)}: leave out /certhash/…: that part is this node's own")


def _refuse_unreachable(text: str, endpoint: Endpoint) -> None:
    if endpoint.port == 0:
        raise InvalidValueError(f"{quoted(text)}: nobody can reach port 0")
    if endpoint.ip is not None and (endpoint.ip.is_unspecified or endpoint.ip.is_multicast):
        raise InvalidValueError(f"{quoted(text)}: nobody can reach {endpoint.host}; name one address")
