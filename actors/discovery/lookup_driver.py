"""Drives one lookup against the swarm: first its routing table is read, then single servers are asked.

Connects lookup.Lookup, which decides whom to ask, with pending_requests.PendingRequests, which remembers who
waits for which answer. Never sends anything; `poll` returns what to send. Never reads or fills the swarm's
own store of providers: only answers of servers count, including what a server says about itself.
"""

import math
from collections.abc import Callable, Iterable
from typing import Literal

from ...messages.base import Message
from ...messages.to_discovery import KadReply, Servers
from ...messages.to_swarm import ClosestServers, KadRequest
from ...messages.types import Instant, PeerAddresses
from .lookup import Lookup
from .pending_requests import REQUEST_TIMEOUT_SECONDS, Answer, PendingRequests

Providers = tuple[PeerAddresses, ...]
ProvidersCallback = Callable[[bytes, Providers, Instant], None]
"""Called with the peer id of the server that answered, the providers that it named, and the time."""
LookupOperation = Literal["find_node", "get_providers"]

# The tag of a request is the peer id of the asked server. No peer id is empty: this is the routing table's
# tag.
_ROUTING_TABLE_TAG = b""


class LookupDriver:
    """A running lookup. `on_providers` gets the providers that each server names, as the answers come.

    `seeds` are servers known without the routing table; `fallback` are servers to begin with when the routing
    table is empty (the bootstrap peers). `settled` (only slow servers are still waited for) and `finished`
    (no server is left to ask or to wait for) are as of the last `poll`.
    """

    def __init__(
        self,
        key: bytes,
        own_peer: bytes,
        operation: LookupOperation,
        requests: PendingRequests,
        now: Instant,
        *,
        seeds: Iterable[PeerAddresses] = (),
        fallback: Iterable[PeerAddresses] = (),
        on_providers: ProvidersCallback | None = None,
    ) -> None:
        self.started = now
        self.finished = False
        self.settled = False
        self.lookup = Lookup(key, own_peer)
        self.lookup.add_seeds(seeds)
        self._operation = operation
        self._requests = requests
        self._fallback = tuple(fallback)
        self._on_providers = on_providers
        self._routing_table: Literal["not requested", "requested", "known"] = "not requested"
        self._changed = True
        self._wake_at: Instant = math.inf

    def add_seeds(self, servers: Iterable[PeerAddresses]) -> None:
        """Add servers to start from, also while the lookup runs."""
        self.lookup.add_seeds(servers)
        self._changed = True

    def handle_joined(self, server: PeerAddresses) -> None:
        """Add a server with which there is a connection now, and ask it again if it did not answer."""
        self.lookup.handle_joined(server)
        self._changed = True

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        if not self._changed and now < self._wake_at:
            return []  # hundreds of lookups share one loop: one without any news must cost nothing
        out: list[Message] = []
        if self._routing_table == "not requested" and self._requests.room > 0:
            self._routing_table = "requested"
            request = self._requests.open(self, _ROUTING_TABLE_TAG, now)
            out.append(ClosestServers(request, self.lookup.key))
        for server in self.lookup.poll(now, self._requests.room):
            out.append(
                KadRequest(
                    request=self._requests.open(self, server.peer, now),
                    peer=server.peer,
                    addresses=server.addresses,
                    op=self._operation,
                    key=self.lookup.key,
                    timeout=REQUEST_TIMEOUT_SECONDS,
                    hearsay=server.hearsay,
                )
            )
        # Without room for more requests the lookup may have been cut short, so it is polled again next time.
        self._changed = self._requests.room <= 0
        self._wake_at = self.lookup.wake_at(now)
        self.settled = self._routing_table == "known" and self.lookup.settled(now)
        self.finished = self.settled and self.lookup.finished
        return out

    def handle_answer(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Handle an answer of the swarm: the routing table's servers, or what one server replied."""
        self._changed = True
        if isinstance(answer, Servers):
            if tag == _ROUTING_TABLE_TAG:
                self._routing_table = "known"
                self.lookup.add_seeds(answer.peers or self._fallback)
                if answer.providers and self._on_providers is not None:
                    self._on_providers(self.lookup.own_peer, answer.providers, now)
        elif isinstance(answer, KadReply) and tag != _ROUTING_TABLE_TAG:
            self.lookup.handle_answer(tag, answer.closer)
            if answer.providers and self._on_providers is not None:
                self._on_providers(tag, answer.providers, now)

    def handle_failure(self, tag: bytes, now: Instant) -> None:
        """Handle that a request of this lookup gets no answer."""
        self._changed = True
        if tag == _ROUTING_TABLE_TAG:
            self._routing_table = "known"
            self.lookup.add_seeds(self._fallback)
        else:
            self.lookup.handle_failure(tag)

    def stop(self) -> None:
        """Give the lookup up; answers that still come are dropped."""
        self._requests.abandon(self)

    def wake_at(self) -> Instant:
        """Return when `poll` may have something new without any answer; inf: never."""
        return self._wake_at
