"""Notices that another peer answers than was named, or that another node has this node's peer id.

Both look like a dead port otherwise: a bootstrap peer whose data directory was replaced, and a data
directory that was copied to a second node, after which neither of the two can be found reliably. Owns what is
said about it, how often, and which of a stranger's claims are checked. Never closes a connection and never
changes a route.
Implements docs/operations.md, "When something is wrong".
"""

from collections.abc import Callable, Sequence
from typing import Final

from ...messages.types import Instant
from ...protocol.peer_ids import peer_id_text
from ..base import IDENTITY_IN_USE
from .dial import addresses
from .dial.addresses import Endpoint, IpAddress

REPEAT_INTERVAL_S: Final = 600.0
"""The same warning is not written again within this time."""
CHECK_INTERVAL_S: Final = 60.0
"""A server's claim about this node's own peer id leads to a dial at most this often."""
MAX_CHECKED_ADDRESSES: Final = 4
_MAX_BOOTSTRAP_PEERS: Final = 256
_MAX_WARNINGS: Final = 64

Warn = Callable[[str, dict[str, str]], None]


class IdentityWatch:
    """What was noticed. `warn` writes a log line; `own_endpoints` returns where this node listens, now."""

    def __init__(
        self,
        own_peer: bytes,
        own_endpoints: Callable[[], Sequence[Endpoint]],
        warn: Warn,
        clock: Callable[[], Instant],
    ) -> None:
        self._own_peer = own_peer
        self._own_endpoints = own_endpoints
        self._warn = warn
        self._clock = clock
        self._bootstrap_peers: set[bytes] = set()
        self._warned: dict[tuple[str, str], Instant] = {}
        self._next_check: Instant = 0.0

    def add_bootstrap_peer(self, peer: bytes) -> None:
        """Warn when another peer answers in the place of this one."""
        if len(self._bootstrap_peers) < _MAX_BOOTSTRAP_PEERS:
            self._bootstrap_peers.add(peer)

    def other_peer_answered(self, named: bytes, endpoint: Endpoint, actual: bytes) -> None:
        """Another peer than the one that was dialled has proved its peer id at `endpoint`."""
        if actual == self._own_peer:
            if endpoint.with_zone("") not in self._own_endpoints():
                self._warn_rarely(IDENTITY_IN_USE, str(endpoint), at=str(endpoint), seen="by a dial")
        elif named in self._bootstrap_peers:
            self._warn_rarely(
                "a bootstrap peer has another peer id: correct --bootstrap",
                str(endpoint),
                at=str(endpoint),
                named=peer_id_text(named),
                found=peer_id_text(actual),
            )

    def own_peer_connected(self, host: str | None) -> None:
        """A peer at the IP address `host` has connected and proved this node's own peer id."""
        self._warn_rarely(IDENTITY_IN_USE, f"from {host}", at=f"{host}", seen="by a connection from there")

    def own_peer_provides(self, texts: Sequence[str]) -> None:
        """A DHT server names this node as the provider of a key that this node does not provide."""
        foreign = self.elsewhere(texts)
        if foreign:
            at = ", ".join(map(str, foreign))
            self._warn_rarely(IDENTITY_IN_USE, at, at=at, seen="in the DHT")

    def to_check(self, texts: Sequence[str], source: str | None, *, lan_only: bool) -> list[Endpoint]:
        """Return where to look who answers: a DHT server with the IP address `source` names this node there.

        Nothing on this host or a private network unless the server is there itself: a liar would learn from
        it which ports are open. The record may be an old one of this node, so the claim alone says nothing.
        """
        now = self._clock()
        server = addresses.ip_of(source)
        if now < self._next_check or server is None:
            return []
        found = [one for one in self.elsewhere(texts) if _may_be_named_by(one.ip, server, lan_only=lan_only)]
        if found:
            self._next_check = now + CHECK_INTERVAL_S
        return found

    def elsewhere(self, texts: Sequence[str]) -> list[Endpoint]:
        """Return those of the addresses that are not this node, at most four."""
        usable = addresses.usable(texts)
        own = self._own_endpoints() if usable else ()
        return [one for one in usable if one.with_zone("") not in own][:MAX_CHECKED_ADDRESSES]

    def _warn_rarely(self, event: str, about: str, **fields: str) -> None:
        now, key = self._clock(), (event, about)
        if now - self._warned.get(key, -REPEAT_INTERVAL_S) < REPEAT_INTERVAL_S:
            return
        if len(self._warned) >= _MAX_WARNINGS:
            self._warned.pop(next(iter(self._warned)))
        self._warned.pop(key, None)
        self._warned[key] = now
        self._warn(event, fields)


def _may_be_named_by(ip: IpAddress | None, server: IpAddress, *, lan_only: bool) -> bool:
    if ip is None:
        return False
    ip = addresses.unmapped(ip)
    if ip.is_loopback or ip.is_link_local:
        return server.is_loopback or (ip.is_link_local and server.is_link_local)
    if ip.is_private:
        return addresses.is_local_network(server)
    return not lan_only
