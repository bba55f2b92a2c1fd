"""Tells the vault which peers were of use, and puts to use at the start which ones were before.

Owns the pace of the reports (what is in them: peer_reports.py) and what is done with a memory: its addresses
are dialled before others, its servers are named to discovery, its relays are asked first. Never
keeps anything over a restart; the vault does. Implements docs/security.md, "What a node remembers".
"""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from ...messages.to_discovery import RememberedServers
from ...messages.to_swarm import SwarmInbox
from ...messages.to_vault import PeersBehaved
from ...messages.types import PeerAddresses, RememberedKind, RememberedPeer
from ..base import Mailbox, now
from .dial.addresses import Endpoint
from .dial.dialer import Dialer
from .dial.hearsay import remembered
from .peer_reports import REPORT_INTERVAL_S, Behaviour, PeerReports

MAX_SERVERS: Final = 64
"""Remembered servers that discovery is told of: what it tries while it knows none."""


class Remembering:
    """What one swarm remembers, of servers those of one DHT. `is_device`: a peer is a trusted device's."""

    def __init__(
        self, mailbox: Mailbox[SwarmInbox], dht_protocol: str, is_device: Callable[[bytes], bool]
    ) -> None:
        self._mailbox = mailbox
        self._dht_protocol = dht_protocol
        self._is_device = is_device
        self._reports = PeerReports()
        self._news = trio.Event()
        self._servers: list[PeerAddresses] = []

    async def run(self) -> None:
        """Tell the vault what peers did, some of them at a time."""
        while True:
            await self._news.wait()
            await trio.sleep(REPORT_INTERVAL_S)  # not a wait for an event: the pace of reports
            self._news = trio.Event()
            reports = self._reports.take()
            if reports:
                await self._mailbox.send("vault", PeersBehaved(self._dht_protocol, reports))
                self._news.set()  # for what is left over

    async def recall(
        self,
        peers: Sequence[RememberedPeer],
        dialer: Dialer,
        take_relays: Callable[[Sequence[PeerAddresses]], None],
    ) -> None:
        """Take in a part of the vault's memory, the best first."""
        take_relays([remembered(one.peer, one.addresses) for one in peers if one.kind == "relay"])
        for peer in peers:
            self._reports.recalled(peer.peer, peer.addresses)
            dialer.recall(peer.peer, peer.addresses)
        servers = [remembered(one.peer, one.addresses) for one in peers if one.kind == "server"]
        self._servers = [*self._servers, *servers][:MAX_SERVERS]
        if servers:
            await self._mailbox.send("discovery", RememberedServers(tuple(self._servers)))

    def reached(self, peer: bytes, endpoint: Endpoint) -> None:
        """A dial has led to a peer."""
        self._reports.reached(peer, str(endpoint.with_zone("")))
        if self._is_device(peer):
            self.device_known(peer)

    def device_known(self, peer: bytes) -> None:
        """A peer is a trusted device's; it may have been reached before that was known."""
        self._note("device", peer, "answered")

    def server_behaved(self, peer: bytes, behaviour: Behaviour) -> None:
        """A DHT server has answered, in time or not, or has lied."""
        self._note("server", peer, behaviour)

    def relay_behaved(self, peer: bytes, behaviour: Behaviour) -> None:
        """A relay keeps a reservation, or is not there."""
        self._note("relay", peer, behaviour)

    def forget(self, peer: bytes) -> None:
        """A device was forgotten."""
        self._reports.forget(peer)

    def _note(self, kind: RememberedKind, peer: bytes, behaviour: Behaviour) -> None:
        if self._reports.note(kind, peer, behaviour, now()):
            self._news.set()
