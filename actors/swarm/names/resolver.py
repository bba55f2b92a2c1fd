"""Replaces /dnsaddr addresses of a peer by the addresses to which they lead, for the swarm.

Owns how much is looked up at once, and what is believed: a name server, or whoever answers in its place,
could name this host's loopback or private network, so only a server that the user has configured is believed
about networks in which it is itself (docs/protocol.md, "Names of DHT servers"). While no name server answers,
a name leads where it led before. Never raises for a name that leads nowhere; it says so in the log.
"""

from collections import OrderedDict
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
_MAX_KNOWN: Final = 64

Warn = Callable[[str, dict[str, str]], None]


class DnsaddrResolver:
    """Looks names up. `name_servers` are those that were configured, if any; `warn` writes a log line."""

    def __init__(self, name_servers: Sequence[str], warn: Warn) -> None:
        self._servers = NameServers(name_servers)
        self._source = name_servers[0].rpartition(":")[0].strip("[]") if name_servers else None
        self._warn = warn
        self._limiter = trio.CapacityLimiter(MAX_AT_ONCE)
        self._told: set[str] = set()
        self._known: OrderedDict[tuple[str, bytes], tuple[str, ...]] = OrderedDict()
        """What a name led to last, by name and peer."""

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
        reason, is_answered = "no address of that peer", True
        async with self._limiter:
            with trio.move_on_after(EXPANSION_TIMEOUT_S) as limit:
                while (asked := expansion.next_name()) is not None:
                    try:
                        expansion.take(await self._servers.texts(asked))
                    except NameLookupError as error:
                        reason, is_answered = str(error), False
        if limit.cancelled_caught:
            reason, is_answered = "it takes too long", False
        if not expansion.addresses and not is_answered and (name, peer) in self._known:
            return self._known[name, peer]
        if expansion.addresses:
            self._told.discard(name)
            self._note(name, peer, expansion.addresses)
        elif name not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(name)
            self._warn("a name leads to no address", {"name": f"{PREFIX}{name}", "reason": reason})
        return expansion.addresses

    def _note(self, name: str, peer: bytes, found: tuple[str, ...]) -> None:
        self._known[name, peer] = found
        self._known.move_to_end((name, peer))
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
