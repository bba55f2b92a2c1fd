"""Makes a DHT server and the others known to each other: it looks its own peer id up, and keys far from it.

A server enters the routing table of whoever is connected with it. One that has connected with its bootstrap
peers alone is in no other table and has no other in its own; when those end, each server is a network of its
own, and two devices that know different ones do not find each other. A lookup connects with each server on
its way. That of the own peer id leads to the closest ones, but never away from them: where more start at once
than a bucket of their bootstrap peer holds, those of either half of the key space get to know that half only.
So keys in each other part are looked up as well (kad-dht, "Bootstrap process").

The first round, for the own peer id, begins as soon as a server is known. The second comes soon, since of two
servers that start together each may ask before the other is known, and has keys of all parts. Later ones come
every ten minutes, for servers that come and go, with a key of one part each, in turn.

Only for a node that serves the DHT: no table has any other. Owns when the next round is. Never sends
anything; `poll` returns what to send.
"""

import hashlib
import math
from collections.abc import Sequence

from ...messages.base import Message
from ...messages.types import Instant, PeerAddresses
from .context import DiscoveryContext
from .lookup import K, distance
from .lookup_driver import LookupDriver

EARLY_PAUSES_SECONDS = (10.0, 60.0)
PAUSE_SECONDS = 600.0
"""From the end of one round to the next: the first ones, and all others."""
MAX_PARTS = 8
"""Parts of the key space in which a key is looked up. The closest 20 of 5 000 servers share the first eight
bits with this node; each shorter beginning is a part."""
_MAX_TRIES = 1 << 12


class Neighbourhood:
    """The lookups by which this node, a server, gets to know the others."""

    def __init__(self, context: DiscoveryContext) -> None:
        self._context = context
        self._serves_dht = False
        self._knows_server = False
        self._lookup: LookupDriver | None = None
        self._keys: list[bytes] = []
        """Still to be looked up in this round."""
        self._rounds = 0
        self._next_at: Instant = math.inf

    def handle_role(self, now: Instant, *, serves_dht: bool) -> None:
        """This node serves the DHT from now on, or does so no more."""
        if serves_dht != self._serves_dht:
            self._serves_dht = serves_dht
            self.restart(now)  # nobody has entered this node before it said that it serves

    def handle_servers(self, now: Instant, *, are_known: bool) -> None:
        """A DHT server is known to this node, or none."""
        if are_known != self._knows_server:
            self._knows_server = are_known
            self.restart(now)

    def handle_server_joined(self, server: PeerAddresses) -> None:
        """Ask this server too if a lookup runs."""
        if self._lookup is not None:
            self._lookup.handle_joined(server)

    def restart(self, now: Instant) -> None:
        """Begin again: nobody knows this node yet, or as what it is, or where."""
        if self._lookup is not None:
            self._lookup.stop()
            self._lookup = None
        self._keys.clear()
        self._rounds = 0
        self._next_at = now

    def poll(self, now: Instant) -> list[Message]:
        """Return what to send to the swarm now."""
        own_peer = self._context.own_peer
        if own_peer is None or not (self._serves_dht and self._knows_server):
            return []
        if self._lookup is None:
            if now < self._next_at:
                return []
            key = self._keys.pop(0) if self._keys else own_peer
            self._lookup = self._context.start_lookup(key, "find_node", now)
        out = self._lookup.poll(now)
        if self._lookup.finished:
            lookup, self._lookup = self._lookup.lookup, None
            if lookup.key == own_peer:
                self._keys = self._far_keys(own_peer, lookup.closest())
            if not self._keys:
                early = EARLY_PAUSES_SECONDS[self._rounds : self._rounds + 1]
                self._next_at = now + (early[0] if early else PAUSE_SECONDS)
                self._rounds += 1
        return out

    def wake_at(self) -> Instant:
        """Return when `poll` has something to do without any answer; inf: never."""
        if not (self._serves_dht and self._knows_server):
            return math.inf
        return self._next_at if self._lookup is None else self._lookup.wake_at()

    def _far_keys(self, own_peer: bytes, closest: Sequence[PeerAddresses]) -> list[bytes]:
        if self._rounds == 0:
            return []
        keys = far_keys(own_peer, closest, self._rounds)
        return keys if self._rounds == 1 or not keys else [keys[self._rounds % len(keys)]]


def far_keys(own_peer: bytes, closest: Sequence[PeerAddresses], number: int) -> list[bytes]:
    """Return a key for each part of the key space beyond the servers `closest` to this node, farthest first.

    Each is a sha2-256 multihash, as implementations of FIND_NODE want it, and another one for each `number`.
    None if `closest` are fewer than 20: then they are all that there are.
    """
    if len(closest) < K:
        return []
    parts = min(min(_shared_bits(own_peer, one.peer) for one in closest), MAX_PARTS)
    found: dict[int, bytes] = {}
    for count in range(_MAX_TRIES):
        if len(found) == parts:
            break
        key = b"\x12\x20" + hashlib.sha256(b"%b %d %d" % (own_peer, number, count)).digest()
        shared = _shared_bits(own_peer, key)
        if shared < parts:
            found.setdefault(shared, key)
    return [found[shared] for shared in sorted(found)]


def _shared_bits(one: bytes, other: bytes) -> int:
    """Return in how many bits the positions of two keys begin alike."""
    return 256 - distance(one, other).bit_length()
