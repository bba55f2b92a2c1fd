"""Which addresses a direct upgrade tells the other side, and which of the other side's it dials. Pure.

The other side may be anybody, and names addresses so that this node sends packets there. So only public IP
addresses are dialled, of TCP and QUIC, never this node's own, and never the relay's. Implements
docs/protocol.md, "Direct upgrade".
"""

from collections.abc import Callable, Collection, Iterable
from typing import Final

from ..dial.addresses import Endpoint, IpAddress
from ..dial.hearsay import is_public

MAX_ADDRESSES: Final = 8
"""That one message names, and that are dialled of one."""
TRANSPORTS: Final = ("tcp", "quic")


def told(own: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Return which of this node's addresses the other side is told, the most likely first."""
    return tuple(dict.fromkeys(one for one in own if one.transport in TRANSPORTS))[:MAX_ADDRESSES]


def dialled(
    named: Iterable[Endpoint],
    never: Collection[IpAddress],
    may_dial: Callable[[IpAddress], bool] = is_public,
) -> tuple[Endpoint, ...]:
    """Return which of the addresses that a peer has named are dialled, in its order.

    `never` are the IP addresses of this node and of the relay.
    """
    found = (
        one.with_zone("")
        for one in named
        if one.relay is None
        and one.transport in TRANSPORTS
        and one.ip is not None
        and not one.ip.is_multicast
        and one.ip not in never
        and may_dial(one.ip)
    )
    return tuple(dict.fromkeys(found))[:MAX_ADDRESSES]
