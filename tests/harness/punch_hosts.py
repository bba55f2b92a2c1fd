"""Hosts that meet at a relay and upgrade their connections, each at a loopback address of its own.

Without a NAT in between, so that a SYN that is too early is accepted by the other's listener.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.dialer import Dialer
from spacedrive_node.actors.swarm.host import Host, open_host
from spacedrive_node.actors.swarm.library.connections import connection_kind
from spacedrive_node.actors.swarm.library.identify import after_identify
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.actors.swarm.punch.upgrade import DirectUpgrade
from spacedrive_node.actors.swarm.relay.client import RelayClient
from spacedrive_node.actors.swarm.relay.relay_choice import RelayChoice
from spacedrive_node.protocol.multiaddrs import Endpoint, parse
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, Open
from spacedrive_node.tests.harness.relay_hosts import DEADLINE, Named, echo, relay_hosts

Offers = Callable[[], Sequence[Endpoint]]


@dataclass
class PunchHost:
    """One host. `offers` is what it tells the other side, its own addresses unless a test has it lie."""

    host: Host
    dialer: Dialer
    client: RelayClient
    offers: Offers
    upgrades: DirectUpgrade | None = None
    outcomes: list[str] = field(default_factory=list)
    dialled: list[tuple[Endpoint, bool]] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)

    @property
    def peer(self) -> bytes:
        return self.host.peer

    @property
    def own(self) -> list[Endpoint]:
        return [parse(text) for text in self.host.listening]

    def note_change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def note_dial(self, to: Endpoint, is_from_listening_port: bool) -> None:
        self.dialled.append((to, is_from_listening_port))
        self.note_change()

    def count(self, outcome: str) -> None:
        self.outcomes.append(outcome)
        self.note_change()

    def kinds(self, other: "PunchHost") -> list[str]:
        """How the connections with another host run."""
        return sorted(connection_kind(one) for one in self._with(other))

    def relayed(self, other: "PunchHost") -> Any:
        return next(one for one in self._with(other) if connection_kind(one) == "relayed")

    def _with(self, other: "PunchHost") -> list[Any]:
        return [
            one
            for one in self.host.network.get_connections()
            if one.muxed_conn.peer_id.to_bytes() == other.peer
        ]

    async def until(self, holds: Callable[["PunchHost"], bool]) -> None:
        """Wait until a condition holds; it is looked at after each change."""
        with trio.fail_after(DEADLINE):
            while not holds(self):
                await self.changed.wait()


@dataclass
class PunchHosts:
    """Makes hosts; all of them end together."""

    nursery: trio.Nursery
    relay: Named
    _numbers: Any = field(default_factory=lambda: count(2))

    async def make(self, *transports: str, punches: bool = True, reserves: bool = False) -> PunchHost:
        """A host that listens on transports, with a reservation at the relay if it `reserves`."""
        made: PunchHost = await self.nursery.start(self._run, next(self._numbers), transports, punches)
        if reserves:
            self.nursery.start_soon(made.client.run)
            await made.until(lambda one: one.client.reservations == 1)
        return made

    async def _run(self, number: int, transports: Sequence[str], punches: bool, task_status: Any) -> None:
        async with open_host(bytes([number]) * 32, 64, quic="quic" in transports) as host:
            forms = {"tcp": "/ip4/127.0.0.{}/tcp/0", "quic": "/ip4/127.0.0.{}/udp/0/quic-v1"}
            for one in transports:
                await host.network.listen(Multiaddr(forms[one].format(number)))
            host.listening = tuple(str(parse(str(one))) for one in host.libp2p.get_transport_addrs())
            host.admit(Open(), lambda *_seen: None)
            dialer = Dialer(host.network, host.peer, self.nursery, transports=("tcp", "quic"))
            choice = RelayChoice([self.relay.named])
            made: PunchHost
            client = RelayClient(host.libp2p, dialer, choice, self.nursery, lambda: made.note_change())
            made = PunchHost(host, dialer, client, lambda: made.own)
            dialer.use_circuits(client.open_circuit, host.source_of)
            host.libp2p.set_stream_handler(PROTOCOL, echo)
            if punches:
                made.upgrades = DirectUpgrade(
                    host,
                    dialer,
                    self.nursery.start_soon,
                    offers=lambda: made.offers(),
                    about_to_dial=lambda *what: made.note_dial(*what),
                    count=made.count,
                    may_dial=lambda ip: ip.is_loopback,
                )

            def connected(connection: Any) -> None:
                if made.upgrades is not None:
                    made.upgrades.connected(connection)
                made.note_change()

            async def identified(peer_id: Any) -> None:
                if made.upgrades is not None:
                    made.upgrades.identified(peer_id)

            def ended(connection: Any) -> None:
                client.handle_disconnected(connection.muxed_conn.peer_id.to_bytes())
                made.note_change()

            host.network.register_notifee(ConnectionEvents(connected, ended))
            after_identify(host.libp2p, identified)
            task_status.started(made)
            await trio.sleep_forever()

    @staticmethod
    async def meet(dialling: PunchHost, reached: PunchHost) -> Any:
        """Dial one host from another through the relay; return the connection."""
        return await dialling.dialer.connect(reached.peer, reached.client.circuits)


@asynccontextmanager
async def punch_hosts() -> AsyncIterator[PunchHosts]:
    """The hosts of one test, and their relay."""
    async with relay_hosts() as relays:
        relay = await relays.relay()
        with trio.fail_after(DEADLINE):
            yield PunchHosts(relays.nursery, relay)
