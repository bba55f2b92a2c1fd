"""Replaces /dnsaddr addresses of a peer by the addresses to which they lead, for the swarm.

Owns how much is looked up at once, and what is believed: a name server, or whoever answers in its place,
could name this host's loopback or private network, so only a server that the user has configured is believed
about networks in which it is itself (docs/protocol.md, "Names of DHT servers"). Never raises for a name that
leads nowhere; it says so in the log.
"""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from ....messages.types import PeerAddresses
from ..dial.addresses import MAX_ADDRESSES
from ..dial.hearsay import heard
from .dnsaddr import PREFIX, Expansion, name_in
from .name_servers import NameLookupError, NameServers

MAX_AT_ONCE: Final = 4
EXPANSION_TIMEOUT_S: Final = 10.0
_MAX_TOLD: Final = 64

Warn = Callable[[str, dict[str, str]], None]


class DnsaddrResolver:
    """Looks names up. `name_servers` are those that were configured, if any; `warn` writes a log line."""

    def __init__(self, name_servers: Sequence[str], warn: Warn) -> None:
        self._servers = NameServers(name_servers)
        self._source = name_servers[0].rpartition(":")[0].strip("[]") if name_servers else None
        self._warn = warn
        self._limiter = trio.CapacityLimiter(MAX_AT_ONCE)
        self._told: set[str] = set()

    async def expand(self, peer: bytes, texts: Sequence[str]) -> PeerAddresses:
        """Return the addresses of a peer without /dnsaddr; what names lead to is hearsay.

        Raises ResolverFilesReplacedError.
        """
        plain = [text for text in texts if not text.startswith(PREFIX)]
        found: dict[str, None] = {}
        for text in texts:
            name = name_in(text)
            if name is not None:
                found.update(dict.fromkeys(await self._addresses(name, peer)))
        named = heard(PeerAddresses(peer, tuple(found)[:MAX_ADDRESSES]), self._source)
        known = tuple(dict.fromkeys((*plain, *named.addresses)))[:MAX_ADDRESSES]
        return PeerAddresses(peer, known, tuple(one for one in named.hearsay if one not in plain))

    async def _addresses(self, name: str, peer: bytes) -> tuple[str, ...]:
        expansion = Expansion(name, peer)
        reason = "no address of that peer"
        async with self._limiter:
            with trio.move_on_after(EXPANSION_TIMEOUT_S) as limit:
                while (asked := expansion.next_name()) is not None:
                    try:
                        expansion.take(await self._servers.texts(asked))
                    except NameLookupError as error:
                        reason = str(error)
        if limit.cancelled_caught:
            reason = "it takes too long"
        if expansion.addresses:
            self._told.discard(name)
        elif name not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(name)
            self._warn("a name leads to no address", {"name": f"{PREFIX}{name}", "reason": reason})
        return expansion.addresses
