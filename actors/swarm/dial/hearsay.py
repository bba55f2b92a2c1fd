"""What is believed of addresses that a third party names: a DHT server of its neighbours and of providers.

A liar could make this node knock at doors that only this node reaches: its loopback, its link, its private
network. So an address in such a network is taken only from a source that was itself reached inside it. What
is left is *hearsay*, unless it is the very host of the source: the dialer does not let the time of its dials
tell which of these ports are open, and follows no name of them into a private network. Pure. Implements
docs/protocol.md, "Finding and dialling".
"""

import ipaddress
from collections.abc import Sequence

from ....messages.types import PeerAddresses
from .addresses import AddressError, IpAddress, parse, unmapped

_PUBLIC, _PRIVATE, _LINK, _HOST = range(4)
"""How near an address is. Who was reached at one distance is believed about this and all greater ones."""


def is_public(ip: IpAddress) -> bool:
    """Return whether anybody may be at `ip`: it is in no network that only some hosts reach."""
    return _nearness(ip) == _PUBLIC


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
            ip = parse(text).ip
        except AddressError:
            continue
        if ip is not None and _nearness(ip) > nearest:
            continue
        believed.append(text)
        if ip is None or unmapped(ip) != source_ip:
            hearsay.append(text)
    return PeerAddresses(named.peer, tuple(believed), tuple(hearsay))


def heard_all(named: Sequence[PeerAddresses], source: str | None) -> tuple[PeerAddresses, ...]:
    """Return what `heard` says of each peer."""
    return tuple(heard(one, source) for one in named)


def _nearness(ip: IpAddress) -> int:
    ip = unmapped(ip)
    if ip.is_loopback:
        return _HOST
    if ip.is_link_local:
        return _LINK
    return _PUBLIC if ip.is_global else _PRIVATE
