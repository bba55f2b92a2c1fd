"""Makes a DHT server known to the servers closest to it, and them to it: it looks its own peer id up.

A server enters the routing table of whoever is connected with it. One that has connected with its bootstrap
peers alone is in no other table and has no other in its own; when those end, each server is a network of its
own, and two devices that know different ones do not find each other. A lookup of the own peer id leads to the
closest servers and connects with each on the way (kad-dht, "Bootstrap process").

The first lookup begins as soon as a server is known. The next come soon: of two servers that start together
each may ask before the other is known. Then one follows every ten minutes, for servers that come and go.

Only for a node that serves the DHT: no table has any other. Owns when the next lookup is. Never sends
anything; `poll` returns what to send.
"""

import math

from ...messages.base import Message
from ...messages.types import Instant, PeerAddresses
from .context import DiscoveryContext
from .lookup_driver import LookupDriver

FIRST_PAUSE_SECONDS = 10.0
PAUSE_GROWTH = 4.0
MAX_PAUSE_SECONDS = 600.0
"""From the end of one lookup to the next: 10, 40, 160, then always 600."""


class Neighbourhood:
    """The lookups of this node's own peer id."""

    def __init__(self, context: DiscoveryContext) -> None:
        self._context = context
        self._serves_dht = False
        self._knows_server = False
        self._lookup: LookupDriver | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._next_at: Instant = math.inf

    def handle_role(self, now: Instant, *, serves_dht: bool) -> None:
        """This node serves the DHT from now on, or does so no more."""
        if serves_dht != self._serves_dht:
            self._serves_dht = serves_dht
            self._begin(now)  # nobody has entered this node before it said that it serves

    def handle_servers(self, now: Instant, *, are_known: bool) -> None:
        """A DHT server is known to this node, or none."""
        if are_known != self._knows_server:
            self._knows_server = are_known
            self._begin(now)

    def handle_server_joined(self, server: PeerAddresses) -> None:
        """Ask this server too if a lookup runs."""
        if self._lookup is not None:
            self._lookup.handle_joined(server)

    def restart(self, now: Instant) -> None:
        """Begin again: the swarm is new, or in another network."""
        self._begin(now)

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        own_peer = self._context.own_peer
        if own_peer is None or not (self._serves_dht and self._knows_server):
            return []
        if self._lookup is None:
            if now < self._next_at:
                return []
            self._lookup = self._context.start_lookup(own_peer, "find_node", now)
        out = self._lookup.poll(now)
        if self._lookup.finished:
            self._lookup = None
            self._next_at = now + self._pause
            self._pause = min(self._pause * PAUSE_GROWTH, MAX_PAUSE_SECONDS)
        return out

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer; inf: never."""
        if not (self._serves_dht and self._knows_server):
            return math.inf
        return self._next_at if self._lookup is None else self._lookup.wake_at()

    def _begin(self, now: Instant) -> None:
        if self._lookup is not None:
            self._lookup.stop()
            self._lookup = None
        self._pause = FIRST_PAUSE_SECONDS
        self._next_at = now
