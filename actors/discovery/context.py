"""What every search and announcement shares: the pending requests, and the servers that are known beforehand.

core.py keeps these values up to date; searches and announcements only read them. Never sends anything.
"""

from dataclasses import dataclass

from ...messages.types import Instant, PeerAddresses
from .lookup_driver import LookupDriver, LookupOperation, ProvidersCallback
from .pending_requests import PendingRequests

REMEMBERED_AT_ONCE = 8
"""Remembered servers that are tried together."""
REMEMBERED_LATER = 4
"""The same once all have been silent for a while."""
REMEMBERED_AT_START = 16
"""As many as are tried when they have just come: of so many different networks that one crowd is not all
that answers."""


@dataclass(slots=True)
class DiscoveryContext:
    """The shared values. `own_peer`, this node's peer id, is None until the swarm is up.

    `remembered` are DHT servers that were of use before, the best first.
    """

    requests: PendingRequests
    bootstrap: tuple[PeerAddresses, ...] = ()
    same_host: tuple[PeerAddresses, ...] = ()
    remembered: tuple[PeerAddresses, ...] = ()
    own_peer: bytes | None = None

    def start_lookup(
        self,
        key: bytes,
        operation: LookupOperation,
        now: Instant,
        on_providers: ProvidersCallback | None = None,
    ) -> LookupDriver:
        """Start a lookup.

        Nodes of this host are always asked, bootstrap peers and some of the remembered servers if the routing
        table is empty.
        """
        assert self.own_peer is not None
        return LookupDriver(
            key,
            self.own_peer,
            operation,
            self.requests,
            now,
            seeds=self.same_host,
            fallback=(*self.bootstrap, *self.remembered[:REMEMBERED_AT_ONCE]),
            on_providers=on_providers,
        )
