"""A relay with real hosts around it: what it grants, how each circuit ends, and what strangers cannot do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from spacedrive_node.actors.swarm.library.streams import (
    StreamError,
    begin_stream,
    open_stream,
    read_exactly,
    read_varint_message,
)
from spacedrive_node.actors.swarm.relay import messages, service
from spacedrive_node.actors.swarm.relay.limits import ServiceLimits
from spacedrive_node.actors.swarm.relay.messages import Answer, Status
from spacedrive_node.tests.harness.library_hosts import PROTOCOL
from spacedrive_node.tests.harness.relay_hosts import DEADLINE, Party, RelayHosts, relay_hosts


@pytest.fixture
async def hosts() -> AsyncIterator[RelayHosts]:
    async with relay_hosts() as made:
        with trio.fail_after(DEADLINE):
            yield made


async def ask(party: Party, relay: Party, request: bytes) -> Answer:
    """Send one HOP request on a connection with the relay."""
    connection = await party.dialer.connect_relay(relay.peer, (relay.address,))
    stream = await begin_stream(connection, messages.HOP_PROTOCOL, request)
    answer = messages.read_hop_answer(await read_varint_message(stream, messages.MAX_MESSAGE_BYTES))
    await stream.reset()
    return answer


@asynccontextmanager
async def bare_circuit(source: Party, relay: Party, target: Party) -> AsyncIterator[Any]:
    """The stream of a circuit from the relay's OK on, with nothing of Noise on it."""
    connection = await source.dialer.connect_relay(relay.peer, (relay.address,))
    stream = await begin_stream(connection, messages.HOP_PROTOCOL, messages.connect_request(target.peer))
    answer = messages.read_hop_answer(await read_varint_message(stream, messages.MAX_MESSAGE_BYTES))
    assert answer.is_ok
    yield stream
    await stream.reset()


async def target_of(hosts: RelayHosts, relay: Party, handle: Any) -> Party:
    """A host with a reservation that gives the stream of each circuit to `handle`, after its OK."""
    target = await hosts.plain()

    async def stop(stream: Any) -> None:
        messages.read_stop_request(await read_varint_message(stream, messages.MAX_MESSAGE_BYTES))
        await stream.write(messages.stop_status(Status.OK))
        await handle(stream)

    target.host.set_stream_handler(messages.STOP_PROTOCOL, stop)
    assert (await ask(target, relay, messages.reserve_request())).is_ok
    return target


async def silent(stream: Any) -> None:
    await trio.sleep_forever()


async def echo_pairs(stream: Any) -> None:
    while True:
        await stream.write(await read_exactly(stream, 2))


def ended(relay: Party) -> dict[str, int]:
    assert relay.service is not None
    return dict(relay.service.ended)


async def until_ended(relay: Party, end: str, count: int = 1) -> None:
    await relay.until(lambda one: one.service.ended[end] >= count and not one.service.circuits)


async def test_an_idle_circuit_ends_when_its_time_is_over(hosts: RelayHosts) -> None:
    """Nothing was ever sent on it (the library's relay kept it for ever), and nothing is sent at its end."""
    relay = await hosts.relay(ServiceLimits(duration_s=1))
    rest: list[bytes] = []

    async def read_all(stream: Any) -> None:
        try:
            while data := await stream.read(4096):
                rest.append(data)
        finally:
            rest.append(b"end")

    target = await target_of(hosts, relay, read_all)
    began = trio.current_time()
    async with bare_circuit(await hosts.plain(), relay, target) as stream:
        with pytest.raises(StreamError):
            await read_exactly(stream, 1)
        assert trio.current_time() - began > 0.9
        await until_ended(relay, "duration")
        while not rest:
            await trio.lowlevel.checkpoint()
        assert rest == [b"end"]


async def test_each_direction_has_its_own_bytes(hosts: RelayHosts) -> None:
    """What the limit allows passes both ways at once; one byte more in one direction ends the circuit."""
    size = 300_000
    relay = await hosts.relay(ServiceLimits(data_bytes=size))
    echoed = trio.Event()

    async def echo_size(stream: Any) -> None:
        await stream.write(await read_exactly(stream, size - 1))
        await echoed.wait()

    target = await target_of(hosts, relay, echo_size)
    async with bare_circuit(await hosts.plain(), relay, target) as stream:
        await stream.write(bytes(size - 1))
        assert await read_exactly(stream, size - 1) == bytes(size - 1)
        assert not ended(relay)
        await stream.write(b"12")
        await until_ended(relay, "data")
    assert relay.service is not None
    assert relay.service.relayed_bytes == 2 * size - 1
    echoed.set()


async def test_the_end_of_one_circuit_ends_no_other(hosts: RelayHosts) -> None:
    """Two peers at one target, and two circuits of one peer to it."""
    relay = await hosts.relay()
    target = await target_of(hosts, relay, echo_pairs)
    one, other = await hosts.plain(), await hosts.plain()
    async with bare_circuit(one, relay, target) as kept, bare_circuit(other, relay, target) as kept_too:
        async with bare_circuit(one, relay, target):
            pass
        async with bare_circuit(other, relay, target):
            pass
        await relay.until(lambda party: party.service.circuits == 2)
        for stream in (kept, kept_too):
            await stream.write(b"on")
            assert await read_exactly(stream, 2) == b"on"


async def test_a_half_that_is_closed_leaves_the_other(hosts: RelayHosts) -> None:
    """What the target says after it has heard the end still arrives, and then the end."""
    relay = await hosts.relay()

    async def answer_after_end(stream: Any) -> None:
        heard = b""
        try:
            while data := await stream.read(100):
                heard += data
        except Exception:  # the library's StreamEOF
            await stream.write(heard[::-1])
        await stream.close()

    target = await target_of(hosts, relay, answer_after_end)
    async with bare_circuit(await hosts.plain(), relay, target) as stream:
        await stream.write(b"abc")
        await stream.close_write()
        assert await read_exactly(stream, 3) == b"cba"
        await until_ended(relay, "closed")


async def test_a_slow_reader_fills_no_memory(hosts: RelayHosts) -> None:
    """A source that sends without end, to a target that never reads, is stopped by the streams' credit."""
    relay = await hosts.relay(ServiceLimits(data_bytes=64 << 20))
    target = await target_of(hosts, relay, silent)
    sent = 0
    async with bare_circuit(await hosts.plain(), relay, target) as stream:
        with trio.move_on_after(2.0):
            while True:
                await stream.write(bytes(65536))
                sent += 65536
        assert sent < 2 << 20
        held = sum(one.muxed_conn.unread for one in relay.network.get_connections())
        assert held < 1 << 20


async def test_a_reservation_is_whose_the_connection_is_and_ends_with_it(hosts: RelayHosts) -> None:
    """A message may name anybody. Who has no reservation, or no connection any more, is not reached."""
    relay = await hosts.relay()
    liar, other, source = await hosts.plain(), await hosts.plain(), await hosts.plain()
    await other.dialer.connect_relay(relay.peer, (relay.address,))
    named = messages.HopMessage(type=messages.HopMessage.RESERVE)
    named.peer.id = other.peer
    assert (await ask(liar, relay, messages._framed(named))).is_ok
    assert relay.service is not None
    assert relay.service.reservations == 1
    assert (await ask(source, relay, messages.connect_request(other.peer))).status == Status.NO_RESERVATION
    await liar.dialer.drop_peer(relay.peer)
    await relay.until(lambda party: party.service.reservations == 0)
    assert (await ask(source, relay, messages.connect_request(liar.peer))).status == Status.NO_RESERVATION


async def test_what_a_target_may_answer(hosts: RelayHosts) -> None:
    """No, rubbish, or nothing: the source hears that there is no circuit, and none is counted."""
    relay = await hosts.relay()
    source = await hosts.plain()
    answers = [messages.stop_status(Status.PERMISSION_DENIED), b"\x05\xff\xff\xff\xff\xff", b""]
    for answer in answers:
        target = await hosts.plain()

        async def stop(stream: Any, answer: bytes = answer) -> None:
            await stream.write(answer)
            await stream.close()

        target.host.set_stream_handler(messages.STOP_PROTOCOL, stop)
        await ask(target, relay, messages.reserve_request())
        refused = await ask(source, relay, messages.connect_request(target.peer))
        assert refused.status == Status.CONNECTION_FAILED
    await until_ended(relay, "failed", len(answers))


async def test_limits_are_told_to_who_is_beyond_them(hosts: RelayHosts) -> None:
    """The circuit that is one too many for its peer; rubbish; a request for oneself."""
    relay = await hosts.relay(ServiceLimits(circuits_per_peer=1))
    target, source = await target_of(hosts, relay, silent), await hosts.plain()
    async with bare_circuit(source, relay, target):
        second = await ask(source, relay, messages.connect_request(target.peer))
        assert second.status == Status.RESOURCE_LIMIT_EXCEEDED
    assert (await ask(source, relay, b"\x03abc")).status == Status.MALFORMED_MESSAGE
    assert (await ask(target, relay, messages.connect_request(target.peer))).status == Status.NO_RESERVATION


async def test_nothing_is_granted_over_a_circuit(hosts: RelayHosts) -> None:
    """A relay reached through a relay is none."""
    outer, inner = await hosts.relay(), await hosts.client()
    client = await hosts.client(outer)
    inner_service = service.RelayService(client.host, lambda: (), client.dialer.direct)
    inner_service.serve()
    assert client.client is not None
    connection = await inner.dialer.connect(client.peer, client.client.circuits)
    for request in (messages.reserve_request(), messages.connect_request(outer.peer)):
        async with open_stream(connection, messages.HOP_PROTOCOL, request) as stream:
            answer = messages.read_hop_answer(await read_varint_message(stream, 4096))
            assert answer.status == Status.PERMISSION_DENIED


async def test_requests_that_do_not_come_completely_are_bounded(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One peer has eight of them; when their time is over, others can be made."""
    monkeypatch.setattr(service, "REQUEST_TIMEOUT_S", 1.0)
    relay, peer = await hosts.relay(), await hosts.plain()
    connection = await peer.dialer.connect_relay(relay.peer, (relay.address,))
    half = [
        await begin_stream(connection, messages.HOP_PROTOCOL, b"\x10")
        for _ in range(service.MAX_WAITING_PER_PEER)
    ]
    with pytest.raises(StreamError):
        await ask(peer, relay, messages.reserve_request())
    for stream in half:
        with pytest.raises(StreamError):
            await read_exactly(stream, 1)
    assert (await ask(peer, relay, messages.reserve_request())).is_ok


async def test_strangers_who_say_nothing_keep_nobody_from_a_relay(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer id costs nothing: two hold all requests that there may be, and one of these makes room."""
    monkeypatch.setattr(service, "MAX_WAITING", 6)
    monkeypatch.setattr(service, "MAX_WAITING_PER_PEER", 3)
    monkeypatch.setattr(service, "REQUEST_TIMEOUT_S", 10 * DEADLINE)
    relay, held = await hosts.relay(), []
    for _ in range(2):
        stranger = await hosts.plain()
        connection = await stranger.dialer.connect_relay(relay.peer, (relay.address,))
        for _each in range(3):
            held.append(await begin_stream(connection, messages.HOP_PROTOCOL, b"\x10"))
    assert (await ask(await hosts.plain(), relay, messages.reserve_request())).is_ok
    with pytest.raises(StreamError):
        await read_exactly(held[0], 1)


@pytest.mark.parametrize("is_set_up", [True, False], ids=["carried", "being set up"])
async def test_a_crowd_at_a_target_makes_room_for_who_comes_from_elsewhere(
    hosts: RelayHosts, monkeypatch: pytest.MonkeyPatch, is_set_up: bool
) -> None:
    """Its last circuit ends, whether the target has taken it already or not; the one before goes on."""
    relay, answers = await hosts.relay(ServiceLimits(circuits_per_peer=3)), [True, True, is_set_up, True]
    target = await hosts.plain()

    async def stop(stream: Any) -> None:
        messages.read_stop_request(await read_varint_message(stream, messages.MAX_MESSAGE_BYTES))
        if answers.pop(0):
            await stream.write(messages.stop_status(Status.OK))
            await echo_pairs(stream)

    target.host.set_stream_handler(messages.STOP_PROTOCOL, stop)
    assert (await ask(target, relay, messages.reserve_request())).is_ok
    other = await hosts.plain()
    monkeypatch.setattr(
        service,
        "address_block_of",
        lambda muxed: f"192.0.{int(muxed.peer_id == other.host.get_id())}.0/24",
    )
    crowd = []
    for _ in range(3):
        stranger = await hosts.plain()
        connection = await stranger.dialer.connect_relay(relay.peer, (relay.address,))
        crowd.append(
            await begin_stream(connection, messages.HOP_PROTOCOL, messages.connect_request(target.peer))
        )
        await relay.until(lambda one: one.service.circuits == len(crowd))
    while len(answers) > 1:
        await trio.testing.wait_all_tasks_blocked()
    async with bare_circuit(other, relay, target) as stream:
        await stream.write(b"hi")
        assert await read_exactly(stream, 2) == b"hi"
        last = messages.read_hop_answer(await read_varint_message(crowd[2], 4096))
        assert last.status == (Status.OK if is_set_up else Status.CONNECTION_FAILED)
        with pytest.raises(StreamError):
            await read_exactly(crowd[2], 1)
        assert messages.read_hop_answer(await read_varint_message(crowd[1], 4096)).is_ok
        await crowd[1].write(b"on")
        assert await read_exactly(crowd[1], 2) == b"on"
        assert relay.service is not None
        assert relay.service.circuits == 3
    await relay.until(lambda one: one.service.ended["closed" if is_set_up else "failed"] >= 1)


async def test_what_is_relayed_is_what_was_sent(hosts: RelayHosts) -> None:
    """Byte for byte, through Noise, in both directions, more than all credit together."""
    relay = await hosts.relay()
    target, source = await hosts.client(relay), await hosts.client()
    assert target.client is not None
    connection = await source.dialer.connect(target.peer, target.client.circuits)
    data = bytes(range(256)) * 2000
    async with open_stream(connection, PROTOCOL) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(stream.write, data)
        assert await read_exactly(stream, len(data)) == data
