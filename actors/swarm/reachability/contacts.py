"""To which address blocks this node has sent packets lately, and over which of its ports.

A NAT lets in what comes from where a packet was sent to. So an inbound connection proves something only if it
comes from a block to which nothing was sent, and a dial-back proves something only if nothing was sent to its
server from the port on which it arrives. Owns these facts, of the last two hours. When there is no room for
another one, nothing counts as untouched until there is: a stranger who fills the table wins no false proof.
Pure. Implements docs/protocol.md, "Reachability".
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from ....messages.types import Instant
from ..dial.addresses import block_of

MAX_BLOCKS: Final = 4096
REMEMBERED_S: Final = 7500.0
"""Longer than a NAT keeps an idle TCP connection (RFC 5382, REQ-5: 2 h 4 min)."""

Port = Literal["tcp", "udp"]
"""A port on which this node listens. A dial from any other port opens neither."""


@dataclass(slots=True)
class _Contact:
    at: Instant
    opened: dict[Port, Instant] = field(default_factory=dict)


class Contacts:
    """The blocks that were contacted, the one longest ago first."""

    def __init__(self) -> None:
        self._blocks: dict[str, _Contact] = {}
        self._full_until: Instant = 0.0

    def note(self, host: str, now: Instant, opened: Port | None = None) -> None:
        """Note that something is sent to an IP address now; `opened`: from that port of this node."""
        block = block_of(host)
        if block is None:
            return
        self._forget(now)
        contact = self._blocks.pop(block, None)
        if contact is None:
            if len(self._blocks) >= MAX_BLOCKS:
                self._full_until = now + REMEMBERED_S
                return
            contact = _Contact(now)
        contact.at = now
        if opened is not None:
            contact.opened[opened] = now
        self._blocks[block] = contact

    def is_untouched(self, host: str, now: Instant) -> bool:
        """Return whether nothing was sent to the block of an IP address."""
        block = block_of(host)
        self._forget(now)
        return block is not None and now >= self._full_until and block not in self._blocks

    def is_closed(self, host: str, port: Port, now: Instant) -> bool:
        """Return whether nothing was sent to the block of an IP address from this port."""
        block = block_of(host)
        self._forget(now)
        if block is None or now < self._full_until:
            return False
        contact = self._blocks.get(block)
        return contact is None or now - contact.opened.get(port, -REMEMBERED_S) >= REMEMBERED_S

    def _forget(self, now: Instant) -> None:
        while self._blocks:
            block, contact = next(iter(self._blocks.items()))
            if now - contact.at < REMEMBERED_S:
                return
            del self._blocks[block]
