"""What is believed of addresses that a third party names: a DHT server of its neighbours and of providers.

A liar could make this node knock at doors that only this node reaches: its loopback, its link, its private
network. So an address in such a network is taken only from a source that was itself reached inside it. What
is left is *hearsay*, unless it is the very host of the source: the dialer does not let the time of its dials
tell which of these ports are open, and follows no name of them into a private network. Pure. Implements
docs/protocol.md, "Finding and dialling".
"""

import ipaddress
from collections.abc import Iterable, Sequence

from ....messages.types import PeerAddresses
from .addresses import AddressError, IpAddress, parse, unmapped

_PUBLIC, _PRIVATE, _LINK, _HOST = range(4)
"""How near an address is. Who was reached at one distance is believed about this and all greater ones."""
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_EMBEDDING = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "64:ff9b::/96")))
"""Networks whose last 32 bits are an IPv4 address: compatible, mapped (RFC 4291), NAT64 (RFC 6052)."""


def is_public(ip: IpAddress) -> bool:
    """Return whether anybody may be at `ip`: it is in no network that only some hosts reach."""
    return _nearness(ip) == _PUBLIC


def for_strangers(texts: Iterable[str]) -> tuple[str, ...]:
    """Return those of the addresses that mean something to anybody: names, and public IP addresses."""
    return tuple(text for text in texts if (ip := parse(text).ip) is None or is_public(ip))


def remembered(peer: bytes, texts: Sequence[str]) -> PeerAddresses:
    """Return where a peer was reached before, as it is believed now.

    That may have been in another network, of a liar's choice. So all but public IP addresses are hearsay: who
    was reached at 192.168.1.1 in a café does not learn what is there at home.
    """
    believed: list[str] = []
    hearsay: list[str] = []
    for text in texts:
        try:
            ip = parse(text).ip
        except AddressError:
            continue
        believed.append(text)
        if ip is None or not is_public(ip):
            hearsay.append(text)
    return PeerAddresses(peer, tuple(believed), tuple(hearsay))


def heard(named: PeerAddresses, source: str | None) -> PeerAddresses:
    """Return `named` as it is believed when a peer that was reached at the IP address `source` names it.

    None: it is not known where the source was reached, and so it is believed about public addresses only.
    """
    source_ip = None if source is None else unmapped(ipaddress.ip_address(source.partition("%")[0]))
    nearest = _PUBLIC if source_ip is None else _nearness(source_ip)
    believed: list[str] = []
    hearsay: list[str] = []
    for text in named.addresses:
        try:
            endpoint = parse(text)
        except AddressError:
            continue
        ip = endpoint.ip
        if ip is not None and _nearness(ip) > nearest:
            continue
        if endpoint.zone:  # it names an interface of whoever says it
            text = str(endpoint.with_zone(""))
        believed.append(text)
        if ip is None or ip != source_ip:
            hearsay.append(text)
    return PeerAddresses(named.peer, tuple(believed), tuple(hearsay))


def heard_all(named: Sequence[PeerAddresses], source: str | None) -> tuple[PeerAddresses, ...]:
    """Return what `heard` says of each peer."""
    return tuple(heard(one, source) for one in named)


def _nearness(ip: IpAddress) -> int:
    """Return how near an address is, or the IPv4 address in it, to which a translator or a tunnel leads."""
    if isinstance(ip, ipaddress.IPv6Address) and not (ip.is_loopback or ip.is_unspecified):
        ip = _embedded(ip) or ip
    if ip.is_loopback or ip.is_unspecified:  # a connection to the unspecified address reaches this host
        return _HOST
    if ip.is_link_local:
        return _LINK
    if isinstance(ip, ipaddress.IPv6Address) and (ip.is_site_local or ip in _LOCAL_NAT64):
        return _PRIVATE
    return _PUBLIC if ip.is_global else _PRIVATE


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip.sixtofour is not None:  # RFC 3056
        return ip.sixtofour
    if any(ip in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None
