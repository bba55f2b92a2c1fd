"""From a name to the addresses of one peer: TXT records of `_dnsaddr.<name>`, which may name further names.

DNS is anybody's word. So a record counts only if it ends with the very peer id that was asked for, which the
peer then has to prove; names that lead to each other in a circle, to ever more names or to a thousand
addresses end at small bounds. Sans-IO: `next_name` says which name to look up, `take` gets its records.
Implements docs/protocol.md, "Names of DHT servers".
"""

import re
from collections.abc import Iterable
from typing import Final

from ....protocol.multiaddrs import AddressError, parse
from ....protocol.peer_ids import peer_id_from_any_text

PREFIX: Final = "/dnsaddr/"
MAX_DEPTH: Final = 4
"""A name that is named by a name that is named …; the public network needs two."""
MAX_NAMES: Final = 16
MAX_ADDRESSES: Final = 16
_RECORD: Final = "dnsaddr="
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,200}[A-Za-z0-9])?")


class Expansion:
    """The way from one name to the addresses of `peer`."""

    def __init__(self, name: str, peer: bytes) -> None:
        self._peer = peer
        self._waiting: list[tuple[str, int]] = [(name.lower(), 1)]
        self._seen = {name.lower()}
        self._depth = 0
        self._addresses: dict[str, None] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """What has been found, at most 16, in the order in which it was named."""
        return tuple(self._addresses)

    def next_name(self) -> str | None:
        """Return the name whose TXT records `take` is to get next; None: that was all."""
        if not self._waiting or len(self._addresses) >= MAX_ADDRESSES:
            return None
        name, self._depth = self._waiting.pop(0)
        return f"_dnsaddr.{name}"

    def take(self, texts: Iterable[str]) -> None:
        """Take in the records of that name."""
        for text in texts:
            address, _, peer = text.removeprefix(_RECORD).rpartition("/p2p/")
            if text.startswith(_RECORD) and self._is_wanted(peer):
                self._take_address(address)

    def _is_wanted(self, peer: str) -> bool:
        try:
            return peer_id_from_any_text(peer) == self._peer
        except ValueError:
            return False

    def _take_address(self, address: str) -> None:
        if address.startswith(PREFIX):
            name = name_in(address)
            new = name is not None and name not in self._seen
            if name is not None and new and self._depth < MAX_DEPTH and len(self._seen) < MAX_NAMES:
                self._seen.add(name)
                self._waiting.append((name, self._depth + 1))
            return
        try:
            endpoint = parse(address)
        except AddressError:
            return
        if not endpoint.zone and len(self._addresses) < MAX_ADDRESSES:
            self._addresses[str(endpoint)] = None


def name_in(address: str) -> str | None:
    """Return the name in /dnsaddr/<name>, in lower case; None: it is no such address."""
    name = address.removeprefix(PREFIX).removesuffix(".")
    if not address.startswith(PREFIX) or not _NAME.fullmatch(name) or ".." in name:
        return None
    return name.lower()
