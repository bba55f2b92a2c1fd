"""A client of relays that work, die, are silent, lie or play: what it believes, and what that costs it."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from libp2p.host.ping import ID as PING_ID

from spacedrive_node.actors.base import now
from spacedrive_node.actors.swarm.dial import under_way
from spacedrive_node.actors.swarm.dial.dialer import UnreachableError
from spacedrive_node.actors.swarm.library.connections import connection_kind
from spacedrive_node.actors.swarm.library.streams import (
    StreamError,
    begin_stream,
    open_stream,
    read_exactly,
    read_varint_message,
)
from spacedrive_node.actors.swarm.relay import client, messages, service
from spacedrive_node.actors.swarm.relay.limits import ServiceLimits
from spacedrive_node.actors.swarm.relay.messages import Status
from spacedrive_node.actors.swarm.relay.service import RelayService
from spacedrive_node.protocol.multiaddrs import parse
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, Open
from spacedrive_node.tests.harness.relay_hosts import DEADLINE, Party, RelayHosts, relay_hosts

NEVER_S = 10 * DEADLINE
"""For what a test must not need."""


@pytest.fixture
async def hosts() -> AsyncIterator[RelayHosts]:
    async with relay_hosts() as made:
        with trio.fail_after(DEADLINE):
            yield made


def through(party: Party) -> tuple[str, ...]:
    assert party.client is not None
    return party.client.circuits


async def speak(source: Party, target: Party, addresses: tuple[str, ...]) -> Any:
    """Dial, and exchange some bytes; return the connection."""
    connection = await source.dialer.connect(target.peer, addresses)
    async with open_stream(connection, PROTOCOL, b"hello") as stream:
        assert await read_exactly(stream, 5) == b"hello"
    return connection


async def test_a_relay_is_dialled_from_the_port_that_is_listened_on(hosts: RelayHosts) -> None:
    """By who keeps a reservation and by who dials through it, also where there is a connection already."""
    relay = await hosts.relay()
    target, source = await hosts.client(reserves=False), await hosts.client()
    await target.dialer.connect(relay.peer, (relay.address,))
    made = await target.dialer.connect_relay(relay.peer, (relay.address,))
    assert await target.dialer.connect_relay(relay.peer, (relay.address,)) is made
    circuit = parse(relay.address).through(relay.host.get_id().to_base58())
    with pytest.raises(UnreachableError):
        await source.dialer.connect(target.peer, (str(circuit),))
    for party in (target, source):
        ports = [
            one.muxed_conn.get_remote_address()[1]
            for one in relay.network.get_connections(party.host.get_id())
        ]
        assert parse(party.address).port in ports


async def test_dials_through_one_relay_share_a_connection_with_it(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four peers are dialled at once, and the relay is slower than other dials are waited for."""
    monkeypatch.setattr(under_way, "OTHER_ADDRESS_TIMEOUT_S", 0.0)
    relay = await hosts.relay()
    targets = [await hosts.client(relay) for _ in range(4)]
    source = await hosts.client()
    async with trio.open_nursery() as nursery:
        for target in targets:
            nursery.start_soon(speak, source, target, through(target))
    assert len(relay.network.get_connections(source.host.get_id())) == 1


async def test_a_direct_address_wins_and_a_direct_connection_is_preferred(hosts: RelayHosts) -> None:
    """A relayed connection is what remains, and not what is used where there is another one."""
    relay = await hosts.relay()
    target, source = await hosts.client(relay), await hosts.client()
    direct = await speak(source, target, (*through(target), target.address))
    assert connection_kind(direct) == "direct"
    await source.dialer.drop(direct)
    relayed = await speak(source, target, through(target))
    assert connection_kind(relayed) == "relayed"
    again = await source.dialer.connect_relay(target.peer, (target.address,))
    assert source.dialer.existing(target.peer) is again


async def test_one_of_two_relays_dies(hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its circuit is announced no more, a third relay takes its place, and the other circuit goes on.

    The end of the connection says so, long before a ping would.
    """
    monkeypatch.setattr(client, "PING_INTERVAL_S", NEVER_S)
    relays = [await hosts.relay() for _ in range(3)]
    target, source = await hosts.client(*relays), await hosts.client()
    first, second = through(target)
    going_on = await speak(source, target, (second,))
    await relays[0].end()
    await target.until(lambda party: party.client.reservations == 2 and first not in party.client.circuits)
    assert second in through(target)
    assert source.dialer.existing(target.peer) is going_on
    await source.dialer.drop(going_on)
    (new,) = set(through(target)) - {second}
    await speak(source, target, (new,))


async def test_a_relay_that_restarts_is_taken_back(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same address, though it is the only one: what was announced holds again."""
    monkeypatch.setattr(client, "PING_INTERVAL_S", NEVER_S)
    relay = await hosts.relay()
    target, source = await hosts.client(relay), await hosts.client()
    before = through(target)
    await relay.end()
    await target.until(lambda party: not party.client.reservations)
    assert through(target) == ()
    await hosts.relay(former=relay)
    await target.until(lambda party: party.client.reservations == 1)
    assert through(target) == before
    await speak(source, target, before)


async def test_a_relay_that_says_nothing_any_more_is_noticed(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stands, and nothing comes: a ping without an answer ends it."""
    monkeypatch.setattr(client, "PING_INTERVAL_S", 0.2)
    monkeypatch.setattr(client, "PING_TIMEOUT_S", 2.0)  # the other one has to answer in it
    relay, other = await hosts.relay(), await hosts.relay()
    target = await hosts.client(relay, other)

    async def never(_stream: Any) -> None:
        await trio.sleep_forever()

    first = through(target)[0]
    relay.host.set_stream_handler(PING_ID, never)
    await target.until(lambda party: first not in party.client.circuits)
    await target.until(lambda party: any(one.startswith(other.address) for one in party.client.circuits))


async def test_circuits_that_end_leave_the_connection_with_the_relay_alone(hosts: RelayHosts) -> None:
    """While others begin, and all of them write: no end of one cuts the packet of another in two."""
    relay = await hosts.relay()
    target = await hosts.client(relay)
    (before,) = relay.network.get_connections(target.host.get_id())

    async def come_and_go() -> None:
        source = await hosts.client()
        for _ in range(30):
            connection = await speak(source, target, through(target))
            await source.dialer.drop(connection)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(come_and_go)
    assert relay.network.get_connections(target.host.get_id()) == [before]
    assert relay.service is not None
    assert not relay.service.ended["failed"]


async def test_a_circuit_that_nobody_uses_is_given_back(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the side that has dialled, some time after something has passed last."""
    monkeypatch.setattr(client, "IDLE_CIRCUIT_S", 3.0)
    watched: list[Any] = []
    close_when_idle = client._close_when_idle

    async def noted(connection: Any, circuit: Any) -> None:
        watched.append(circuit)
        await close_when_idle(connection, circuit)

    monkeypatch.setattr(client, "_close_when_idle", noted)
    relay = await hosts.relay()
    target, source = await hosts.client(relay), await hosts.client()
    connection = await speak(source, target, through(target))
    (circuit,) = watched
    first = circuit.used_at
    assert await speak(source, target, through(target)) is connection
    last = circuit.used_at
    assert last > first
    await connection.event_closed.wait()
    assert trio.current_time() - last >= 3.0
    await relay.until(lambda party: not party.service.circuits)


async def test_a_circuit_is_kept_while_it_is_used_now_and_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In virtual time."""

    class Connection:
        def __init__(self) -> None:
            self.event_closed = trio.Event()

        @property
        def is_closed(self) -> bool:
            return self.event_closed.is_set()

        async def close(self) -> None:
            self.event_closed.set()

    class Circuit:
        used_at = trio.current_time()

    connection, circuit = Connection(), Circuit()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client._close_when_idle, connection, circuit)
        for _ in range(5):
            await trio.sleep(0.9 * client.IDLE_CIRCUIT_S)
            assert not connection.is_closed
            circuit.used_at = trio.current_time()
        await connection.event_closed.wait()
    assert trio.current_time() == pytest.approx(circuit.used_at + client.IDLE_CIRCUIT_S)


class WrongVoucher(RelayService):
    """Signs for somebody else."""

    def _reserve(self, peer: bytes, address_block: str | None) -> bytes:
        return super()._reserve(bytes(38), address_block)


class Garbage(RelayService):
    """Answers with what is no message."""

    def _reserve(self, peer: bytes, address_block: str | None) -> bytes:
        return b"\x09not proto"


class Huge(RelayService):
    """Answers with a message that has no end."""

    def _reserve(self, peer: bytes, address_block: str | None) -> bytes:
        return b"\xff\xff\xff\x7f" + bytes(100_000)


class Silent(RelayService):
    """Takes requests and never answers."""

    async def handle(self, stream: Any) -> None:
        await trio.sleep_forever()


class Resetting(RelayService):
    """Resets whatever comes."""

    async def handle(self, stream: Any) -> None:
        await stream.reset()


@pytest.mark.parametrize("kind", [WrongVoucher, Garbage, Huge, Silent, Resetting])
async def test_a_bad_relay_is_not_kept_and_delays_no_other(
    hosts: RelayHosts, kind: type[RelayService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bad ones and a good one: the good one is kept, and the bad ones are asked with pauses."""
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 2.0)  # the good one has to answer in it
    bad = [await hosts.relay(kind=kind) for _ in range(2)]
    good = await hosts.relay()
    target = await hosts.client(*bad, good, reserves=False)
    assert target.client is not None
    hosts.nursery.start_soon(target.client.run)
    await target.until(lambda party: party.client.reservations == 1)
    assert through(target)[0].startswith(good.address)
    await speak(await hosts.client(), target, through(target))


@pytest.mark.parametrize("limits", [ServiceLimits(data_bytes=4096), ServiceLimits(duration_s=10)])
async def test_a_relay_that_lets_too_little_through_is_not_kept(
    hosts: RelayHosts, limits: ServiceLimits
) -> None:
    """It would be announced, and no pairing could be finished over it."""
    small, good = await hosts.relay(limits), await hosts.relay()
    target = await hosts.client(small, good, reserves=False)
    assert target.client is not None
    hosts.nursery.start_soon(target.client.run)
    await target.until(lambda party: party.client.reservations == 1)
    assert through(target)[0].startswith(good.address)


class Misnaming(RelayService):
    """Says that somebody else is at the other end."""

    async def _announce(self, connection: Any, source: bytes) -> Any:
        return await super()._announce(connection, source[:-1] + bytes([source[-1] ^ 1]))


async def test_a_peer_that_is_not_the_one_named_is_not_let_in(hosts: RelayHosts) -> None:
    """It has proved an id of its own; the connection is closed, and the relay is not blamed for it."""
    relay = await hosts.relay(kind=Misnaming)
    target, source = await hosts.client(relay), await hosts.client()
    with pytest.raises(Exception):  # noqa: B017, PT011 - the dial, or the first exchange on it
        await speak(source, target, through(target))
    await source.until(lambda party: not party.network.get_connections(target.host.get_id()))
    assert not target.network.get_connections(source.host.get_id())
    assert target.client is not None
    assert target.client.reservations == 1


class Misdirecting(RelayService):
    """Leads every circuit to one peer."""

    victim: bytes = b""

    async def _connect(self, stream: Any, source: bytes, target: bytes) -> None:
        await super()._connect(stream, source, self.victim)


async def test_a_relay_that_leads_to_somebody_else(hosts: RelayHosts) -> None:
    """Noise proves who is there: the dial fails."""
    relay = await hosts.relay(kind=Misdirecting)
    target, victim, source = [await hosts.client(relay) for _ in range(3)]
    assert isinstance(relay.service, Misdirecting)
    relay.service.victim = victim.peer
    with pytest.raises(UnreachableError):
        await speak(source, target, through(target))


class NoRelays(Open):
    """A gate that lets nobody in who comes through a relay."""

    def allows(self, host: str) -> bool:
        return not host.startswith("relay:")


async def test_the_gate_is_asked_about_circuits_too() -> None:
    """As `relay:` and the relay's peer id."""
    async with relay_hosts(gate=NoRelays()) as hosts:
        with trio.fail_after(DEADLINE):
            relay = await hosts.relay()
            target, source = await hosts.client(relay), await hosts.client()
            with pytest.raises(UnreachableError):
                await speak(source, target, through(target))
            assert not target.network.get_connections(source.host.get_id())


async def test_circuits_come_only_from_relays_that_are_kept(hosts: RelayHosts) -> None:
    """A stranger that plays the relay hears no; rubbish is reset; nothing of it stays."""
    relay, stranger = await hosts.relay(), await hosts.plain()
    target = await hosts.client(relay)
    connection = await stranger.dialer.connect(target.peer, (target.address,))
    stream = await begin_stream(connection, messages.STOP_PROTOCOL, messages.stop_request(relay.peer))
    answer = messages.read_stop_answer(await read_varint_message(stream, 4096))
    assert answer.status == Status.PERMISSION_DENIED
    stream = await begin_stream(connection, messages.STOP_PROTOCOL, b"\x03abc")
    with pytest.raises(StreamError):
        await read_exactly(stream, 1)
    assert target.client is not None
    assert not target.client._incoming


async def test_a_relay_that_holds_circuits_open_gets_a_share(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It announces circuits and says nothing on them: there is a bound, and their time for Noise runs out.

    All are announced before any is answered.
    """
    answer_now = client.streams.write

    async def answer_late(stream: Any, data: bytes) -> None:
        await trio.testing.wait_all_tasks_blocked()
        await answer_now(stream, data)

    monkeypatch.setattr(client.streams, "write", answer_late)
    monkeypatch.setattr(client, "MAX_CIRCUITS_PER_RELAY", 5)
    relay = await hosts.relay()
    target = await hosts.client(relay)
    for connection in target.network.get_connections():
        assert connection_kind(connection) == "direct"
    target.network.connection_config.inbound_upgrade_timeout = 1.0
    (connection,) = relay.network.get_connections(target.host.get_id())
    requests = [messages.stop_request(bytes(37) + bytes([number])) for number in range(7)]
    held = [await begin_stream(connection, messages.STOP_PROTOCOL, request) for request in requests]
    answers = [messages.read_stop_answer(await read_varint_message(stream, 4096)) for stream in held]
    statuses = Counter(answer.status for answer in answers)
    assert statuses == {Status.OK: 5, Status.RESOURCE_LIMIT_EXCEEDED: 2}
    for stream in held:
        with pytest.raises(StreamError):  # after what the target has to say of Noise
            await read_exactly(stream, 4096)
    await speak(await hosts.client(), target, through(target))


def test_a_client_waits_longer_for_a_relay_than_that_for_the_peer() -> None:
    """Otherwise the relay would set circuits up of which nobody knows."""
    assert service.STOP_TIMEOUT_S < client.ANSWER_TIMEOUT_S
    assert client.STOP_TIMEOUT_S < service.STOP_TIMEOUT_S


async def test_a_relay_is_kept_while_a_circuit_runs_through_it(hosts: RelayHosts) -> None:
    """Its reservation may be over by then; the connection with it makes no room for another."""
    relay = await hosts.relay()
    target, source = await hosts.client(relay), await hosts.client()
    connection = await speak(source, target, through(target))
    assert target.client is not None
    target.client._choice.lost(relay.peer, now())
    assert not target.client._choice.keeps(relay.peer)
    assert target.client.keeps(relay.peer)
    await connection.close()
    while target.client.keeps(relay.peer):
        await trio.lowlevel.checkpoint()
