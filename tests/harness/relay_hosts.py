"""Libp2p hosts with the client or the service of circuit relay, in one event loop on loopback."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.dial.dialer import Dialer
from spacedrive_node.actors.swarm.library.connection_limits import Gate, limit_inbound_connections
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.actors.swarm.relay.client import RelayClient
from spacedrive_node.actors.swarm.relay.limits import ServiceLimits
from spacedrive_node.actors.swarm.relay.relay_choice import RelayChoice
from spacedrive_node.actors.swarm.relay.service import RelayService
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, Open, our_host, running

DEADLINE = 200.0


class Named(Protocol):
    """What a client has to know of a relay."""

    @property
    def named(self) -> PeerAddresses: ...


@dataclass
class Party:
    """One host: its dialler, and its side of relaying."""

    host: Any
    address: str
    dialer: Dialer
    client: RelayClient | None = None
    service: RelayService | None = None
    changed: trio.Event = field(default_factory=trio.Event)
    number: int = 0
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    gone: trio.Event = field(default_factory=trio.Event)

    @property
    def peer(self) -> bytes:
        return bytes(self.host.get_id().to_bytes())

    @property
    def named(self) -> PeerAddresses:
        return PeerAddresses(self.peer, (self.address,))

    @property
    def network(self) -> Any:
        return self.host.get_network()

    def note_change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def end(self) -> None:
        """End the host, as a process ends."""
        self.scope.cancel()
        await self.gone.wait()

    async def until(self, holds: Any) -> None:
        """Wait until a condition on this party holds; it is looked at after each change."""
        with trio.fail_after(DEADLINE):
            while not holds(self):
                await self.changed.wait()


async def echo(stream: Any) -> None:
    """Answer everything that comes, then close."""
    try:
        while data := await stream.read(65536):
            await stream.write(data)
    finally:
        await stream.close()


@dataclass
class RelayHosts:
    """Makes hosts; all of them end together."""

    nursery: trio.Nursery
    gate: Gate
    _numbers: Any
    form: str = ""
    """What follows the IP address where hosts listen: TCP if it is empty."""

    async def _host(self, former: Party | None = None) -> Party:
        number = next(self._numbers) if former is None else former.number
        host = our_host(number, quic="quic" in self.form, websocket="ws" in self.form or None)
        scope, gone = trio.CancelScope(), trio.Event()
        listen = Multiaddr(f"/ip4/127.0.0.1{self.form or '/tcp/0'}" if former is None else former.address)
        address: Any = await self.nursery.start(self._run, host, listen, scope, gone)
        limit_inbound_connections(host.get_network(), self.gate)
        dialer = Dialer(
            host.get_network(), host.get_id().to_bytes(), self.nursery, transports=("tcp", "quic", "ws")
        )
        party = Party(host, str(parse(str(address))), dialer, number=number, scope=scope, gone=gone)
        host.set_stream_handler(PROTOCOL, echo)

        def ended(connection: Any) -> None:
            peer = connection.muxed_conn.peer_id.to_bytes()
            for side in (party.client, party.service):
                if side is not None:
                    side.handle_disconnected(peer)
            party.note_change()

        host.get_network().register_notifee(ConnectionEvents(lambda _one: party.note_change(), ended))
        return party

    async def _run(
        self, host: Any, listen: Multiaddr, scope: trio.CancelScope, gone: trio.Event, task_status: Any
    ) -> None:
        with scope:
            async with running(host, listen=listen) as (address,):
                task_status.started(address)
                await trio.sleep_forever()
        gone.set()

    async def relay(
        self,
        limits: ServiceLimits | None = None,
        kind: type[RelayService] = RelayService,
        former: Party | None = None,
    ) -> Party:
        """A relay, of some `kind`; or the one again that it was before it ended."""
        party = await self._host(former)
        party.service = kind(
            party.host, lambda: (party.address,), party.dialer.direct, limits, party.note_change
        )
        party.service.serve()
        return party

    async def client(self, *relays: Named, reserves: bool = True) -> Party:
        """A client of relays; with a reservation at each of them, at two at most, if it `reserves`."""
        party = await self._host()
        choice = RelayChoice([relay.named for relay in relays])
        party.client = RelayClient(party.host, party.dialer, choice, self.nursery, party.note_change)
        port = parse(party.address).port
        party.dialer.use_circuits(party.client.open_circuit, lambda _family: ("127.0.0.1", port))
        if reserves:
            self.nursery.start_soon(party.client.run)
            wanted = min(len(relays), 2)
            await party.until(lambda one: one.client.reservations == wanted)
        return party

    async def plain(self) -> Party:
        """A host that knows nothing of relays."""
        return await self._host()


@asynccontextmanager
async def relay_hosts(
    numbers: Sequence[int] = range(1, 60), gate: Gate | None = None, form: str = ""
) -> AsyncIterator[RelayHosts]:
    """Hosts of one test."""
    async with trio.open_nursery() as nursery:
        yield RelayHosts(nursery, gate or Open(), iter(numbers), form)
        nursery.cancel_scope.cancel()
