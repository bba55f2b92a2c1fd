"""Which of its addresses a device names where there is room for few: in a QR text, in the DHT, by mDNS.

One good address of each kind comes before a second one of any, so that whoever reads them finds a way: by
each transport, over IPv4 and over IPv6. Owns that order and the number. Pure. Implements docs/protocol.md,
"Finding and dialling".
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .multiaddrs import Endpoint

MAX_NAMED_ADDRESSES = 4


class Place(NamedTuple):
    """An address, and how likely others reach it: the smaller `rank`, the sooner it is named.

    `is_good`: it belongs to a network in which others are, and not to a bridge of containers, say.
    """

    endpoint: Endpoint
    rank: int = 0
    is_good: bool = True


def best(places: Sequence[Place], most: int = MAX_NAMED_ADDRESSES) -> list[Endpoint]:
    """Return the best of the places, in the order in which they came.

    Good ones before others; of these the kinds (transport and IP version) that are named least; of these by
    rank; then transports and IP versions that are named least; then in the order given.
    """
    left = {place.endpoint: (index, place) for index, place in reversed(list(enumerate(places)))}
    kinds: Counter[tuple[str, str]] = Counter()
    halves: Counter[str] = Counter()
    chosen: list[tuple[int, Endpoint]] = []

    def order(found: tuple[int, Place]) -> tuple[bool, int, int, int, int]:
        index, place = found
        kind = _kind(place.endpoint)
        return not place.is_good, kinds[kind], place.rank, halves[kind[0]] + halves[kind[1]], index

    while left and len(chosen) < most:
        index, place = min(left.values(), key=order)
        del left[place.endpoint]
        kind = _kind(place.endpoint)
        kinds[kind] += 1
        halves.update(kind)
        chosen.append((index, place.endpoint))
    return [endpoint for _index, endpoint in sorted(chosen, key=lambda one: one[0])]


def _kind(endpoint: Endpoint) -> tuple[str, str]:
    """Return the transport, and what a host needs to reach the address: an IP version, or the same link."""
    is_on_link = endpoint.ip is not None and endpoint.ip.is_link_local
    return endpoint.transport, "link" if is_on_link else endpoint.family
