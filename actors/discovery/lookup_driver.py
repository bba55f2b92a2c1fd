"""One lookup as the swarm sees it: ask for the servers of the routing table, then single requests.

Binds lookup.Lookup (which decides) to requests.Requests (which remembers); sends nothing itself. The local
store of providers is neither asked nor filled: only answers of servers count, those about themselves too.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ...messages.base import Message
from ...messages.to_discovery import KadReply, Servers
from ...messages.to_swarm import ClosestServers, KadRequest
from ...messages.types import Instant, PeerAddresses
from .lookup import Lookup
from .pending_requests import ANSWER_WITHIN, Answer, Requests

Providers = tuple[PeerAddresses, ...]
Op = Literal["find_node", "get_providers"]
_TABLE = b""

# Tags are the asked peers' ids; the routing table's answer has the one tag that is no peer id.


class Walk:
    """A running lookup. `on_providers(server, providers, now)` gets what each server says, as it comes.

    `first`: servers known without the routing table. `spare`: servers to begin with if it is empty.
    `finished` (nobody is left to ask or to wait for) and `settled` (only slow servers are still waited for)
    are as of the last `poll`.
    """

    def __init__(
        self,
        key: bytes,
        own: bytes,
        op: Op,
        requests: Requests,
        now: Instant,
        *,
        first: Iterable[PeerAddresses] = (),
        spare: Iterable[PeerAddresses] = (),
        on_providers: Callable[[bytes, Providers, Instant], None] | None = None,
    ) -> None:
        self.started = now
        self.finished = False
        self.settled = False
        self.lookup = Lookup(key, own)
        self.lookup.begin_with(first)
        self._op = op
        self._requests = requests
        self._spare = tuple(spare)
        self._on_providers = on_providers
        self._table: Literal["unasked", "asked", "answered"] = "unasked"
        self._touched = True
        self._wake_at: Instant = math.inf

    def begin_with(self, servers: Iterable[PeerAddresses]) -> None:
        """Add servers to start from, also while it runs."""
        self.lookup.begin_with(servers)
        self._touched = True

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        if not self._touched and now < self._wake_at:
            return []  # hundreds of walks share one loop: those that nothing has happened to cost nothing
        out: list[Message] = []
        if self._table == "unasked" and self._requests.room > 0:
            self._table = "asked"
            out.append(ClosestServers(self._requests.open(self, _TABLE, now), self.lookup.key))
        for server in self.lookup.poll(now, self._requests.room):
            request = self._requests.open(self, server.peer, now)
            out.append(
                KadRequest(request, server.peer, server.addresses, self._op, self.lookup.key, ANSWER_WITHIN)
            )
        self._touched = self._requests.room <= 0  # not all was sent that could be
        self._wake_at = self.lookup.wake_at(now)
        self.settled = self._table == "answered" and self.lookup.settled(now)
        self.finished = self.settled and self.lookup.finished
        return out

    def answered(self, tag: bytes, answer: Answer, now: Instant) -> None:
        """Take an answer of the swarm."""
        self._touched = True
        if isinstance(answer, Servers):
            if tag == _TABLE:
                self._table = "answered"
                self.lookup.begin_with(answer.peers or self._spare)
        elif isinstance(answer, KadReply) and tag != _TABLE:
            self.lookup.answered(tag, answer.closer)
            if answer.providers and self._on_providers is not None:
                self._on_providers(tag, answer.providers, now)

    def failed(self, tag: bytes, now: Instant) -> None:
        """Take that a request of this walk has no answer."""
        self._touched = True
        if tag == _TABLE:
            self._table = "answered"
            self.lookup.begin_with(self._spare)
        else:
            self.lookup.failed(tag)

    def stop(self) -> None:
        """Give up; answers that still come are dropped."""
        self._requests.abandon(self)

    def wake_at(self) -> Instant:
        """Return when `poll` may have something new without any answer; inf: never."""
        return self._wake_at


@dataclass(slots=True)
class Surroundings:
    """What every query and announcement stands on. `own` is None until the swarm is up."""

    requests: Requests
    bootstrap: tuple[PeerAddresses, ...] = ()
    same_host: tuple[PeerAddresses, ...] = ()
    own: bytes | None = None

    def walk(
        self,
        key: bytes,
        op: Op,
        now: Instant,
        on_providers: Callable[[bytes, Providers, Instant], None] | None = None,
    ) -> Walk:
        """Begin a lookup. Nodes of this host are always asked, bootstrap peers if the table is empty."""
        assert self.own is not None
        return Walk(
            key,
            self.own,
            op,
            self.requests,
            now,
            first=self.same_host,
            spare=self.bootstrap,
            on_providers=on_providers,
        )
