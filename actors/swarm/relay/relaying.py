"""Relaying of one node: as a client of relays, unless it speaks with near peers only; as a relay, if told so.

Puts client.py and service.py together with the host. Owns which DHT servers become candidates. Decides
nothing about a circuit.
"""

from collections.abc import Callable, Iterable
from typing import Any

import trio
from libp2p.peer.id import ID

from ....messages.actor_configs import SwarmConfig
from ....messages.to_metrics import Sample
from ....messages.types import PeerAddresses
from ....protocol.peer_ids import peer_id_from_text
from ..dial import addresses
from ..dial.dialer import Dialer, Source
from ..dial.hearsay import is_public
from ..kad.dht_client import readable_addresses
from ..library.connections import address_block_of
from ..peer_reports import Behaviour
from . import messages
from .client import RelayClient
from .relay_choice import RelayChoice
from .service import ENDS, RelayService

MAX_TOLD = 4
"""Circuits that are taken from what a peer says of itself."""


class Relaying:
    """What a node has to do with relays.

    `circuits_changed` is called when other addresses lead here through relays, `changed` when a metric has,
    and `behaved` hears how relays do.
    """

    def __init__(
        self,
        host: Any,
        dialer: Dialer,
        config: SwarmConfig,
        nursery: trio.Nursery,
        *,
        own_addresses: Callable[[], Iterable[str]],
        source_of: Callable[[str], Source | None],
        circuits_changed: Callable[[], None],
        changed: Callable[[], None],
        behaved: Callable[[bytes, Behaviour], None],
    ) -> None:
        self._host = host
        self._dialer = dialer
        self._nursery = nursery
        self.client: RelayClient | None = None
        self.service: RelayService | None = None
        if not (config.lan_only or config.offline):
            choice = RelayChoice(config.relays)
            self.client = RelayClient(host, dialer, choice, nursery, circuits_changed, behaved)
            dialer.use_circuits(self.client.open_circuit, source_of, self._circuits_told_by)
        if config.relay_service:
            self.service = RelayService(host, lambda: tuple(own_addresses()), dialer.direct, changed=changed)

    @property
    def circuits(self) -> tuple[str, ...]:
        """The addresses that lead here through relays."""
        return () if self.client is None else self.client.circuits

    def start(self, *, is_public: bool) -> None:
        """Begin, now that the host listens. `is_public`: others reach it as it is."""
        if self.service is not None:
            self.service.serve()
        if self.client is not None:
            self.want_found(not is_public)
            self._nursery.start_soon(self.client.run)

    def want_found(self, wanted: bool) -> None:
        """Look for relays among the DHT servers, or do not: others reach this node as it is."""
        if self.client is not None:
            self.client.want_found(wanted)

    def recall(self, relays: Iterable[PeerAddresses]) -> None:
        """Take up relays that were of use before this process, the best first."""
        if self.client is not None:
            for relay in relays:
                hosts = [one.host for one in addresses.usable(relay.addresses)]
                self.client.remembered(relay, addresses.block_of(hosts[0]) if hosts else None)

    def keeps(self, peer: bytes) -> bool:
        """Return whether there is a reservation at this peer, or a circuit: others come by it, or have."""
        return self.client is not None and self.client.keeps(peer)

    def handle_server(self, server: PeerAddresses) -> None:
        """A DHT server is known and connected: it is a candidate if it offers to relay."""
        connection = self._dialer.direct(server.peer)
        if self.client is None or connection is None or not self._offers_relay(server.peer):
            return
        self.client.joined(server, address_block_of(connection.muxed_conn))

    def network_changed(self) -> None:
        """This host is in another network, or in the same one again."""
        if self.client is not None:
            self.client.network_changed()

    def handle_disconnected(self, peer: bytes) -> None:
        """A connection with `peer` has ended."""
        for side in (self.client, self.service):
            if side is not None:
                side.handle_disconnected(peer)

    def samples(self) -> list[Sample]:
        """Return the metrics."""
        held = 0 if self.client is None else self.client.reservations
        found = [Sample("relay_reservations", ("held",), float(held))]
        if self.service is not None:
            found.append(Sample("relay_reservations", ("granted",), float(self.service.reservations)))
            found.append(Sample("relay_circuits", (), float(self.service.circuits)))
            found.append(Sample("relay_bytes_total", (), float(self.service.relayed_bytes)))
            found += [
                Sample("relay_circuits_ended_total", (end,), float(self.service.ended[end])) for end in ENDS
            ]
        return found

    def _circuits_told_by(self, peer: bytes) -> list[str]:
        """Return the circuits that a peer has told in identify, through public relays or connected ones."""
        try:
            known = self._host.get_peerstore().addrs(ID(peer))
        except Exception:  # as below
            return []
        endpoints = addresses.usable(readable_addresses(known))
        return [
            str(one)
            for one in endpoints
            if one.relay is not None
            and (
                (one.ip is not None and is_public(one.ip))
                or self._dialer.direct(peer_id_from_text(one.relay))
            )
        ][:MAX_TOLD]

    def _offers_relay(self, peer: bytes) -> bool:
        try:
            return messages.HOP_PROTOCOL in self._host.get_peerstore().get_protocols(ID(peer))
        except Exception:  # not in the peer store, or expired
            return False
