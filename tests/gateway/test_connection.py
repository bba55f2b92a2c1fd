"""The control socket itself: frames, bounds, who may connect, slow clients."""

import os
import socket

import msgspec
import pytest
import trio

from spacedrive_node.actors.gateway import actor, actor_requests, client_connection
from spacedrive_node.actors.gateway.actor import may_use, peer_uid
from spacedrive_node.actors.gateway.node_state import MIN_SUBSCRIPTIONS
from spacedrive_node.client.node_client import ControlError, NodeClient, open_client
from spacedrive_node.messages import to_vault
from spacedrive_node.messages.base import CONTROL_LIMIT, encode, frame
from spacedrive_node.messages.control_protocol import (
    Done,
    Error,
    ListActors,
    ListDevices,
    ListSessions,
    NodeStatus,
    SessionEvent,
    Sessions,
    Status,
    Subscribe,
)
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_gateway import ActorInfo, Device, Devices, SessionLimit, VaultError
from spacedrive_node.tests.harness.raw_client import RawClient


async def known(client: NodeClient, count: int) -> None:
    """Wait until the gateway has taken the views delivered: its two sockets know no common order."""
    while len(await client.sessions()) < count:
        pass


@pytest.mark.parametrize(
    ("data", "id"),
    [
        (frame(b"\xc1", 100), 0),
        (frame(b"", 100), 0),
        (frame(msgspec.msgpack.encode({"t": "Status", "id": 7, "extra": 1}), 100), 7),
        (frame(msgspec.msgpack.encode({"t": "Launch", "id": 8}), 100), 8),
        (frame(msgspec.msgpack.encode({"t": "RenameDevice", "id": 9, "name": ""}), 100), 9),
        (frame(msgspec.msgpack.encode({"t": "Status", "id": -1}), 100), 0),
        ((CONTROL_LIMIT + 1).to_bytes(4, "big") + b"x", 0),
        (b"\xff\xff\xff\xff", 0),
    ],
)
async def test_a_bad_frame_is_told_and_ends_the_connection(node, client, raw, data, id):
    """Garbage, unknown fields or kinds, and oversize: bad_request, then the end; others go on."""
    with trio.fail_after(60):
        await raw.stream.send_all(data)
        reply = await raw.receive()
        assert isinstance(reply, Error)
        assert (reply.id, reply.code) == (id, "bad_request")
        assert await raw.receive() is None
        assert (await client.status()).version == "1.2.3"


async def test_requests_in_pieces_and_in_one_piece(raw):
    """Framing does not depend on how the bytes arrive."""
    with trio.fail_after(60):
        data = b"".join(frame(encode(Status(id)), CONTROL_LIMIT) for id in range(3))
        for byte in data[:20]:
            await raw.stream.send_all(bytes([byte]))
        await raw.stream.send_all(data[20:])
        assert {(await raw.receive()).id for _ in range(3)} == {0, 1, 2}


async def test_status(node, raw):
    """Status is what the parts have said; the DHT that is missing is named."""
    with trio.fail_after(60):
        await raw.send(Status(1))
        status = await raw.receive()
        assert isinstance(status, NodeStatus)
        assert (status.name, status.dht_peers, status.sessions_limit) == ("host", 3, 256)
        assert (status.ready, status.missing) == (False, ("dht",))


async def test_status_while_the_supervisor_stands_still(node, raw, monkeypatch):
    """What it would have passed on is not known: the node is not ready, and this is said in good time."""
    monkeypatch.setattr(actor_requests, "ALIVE_SECONDS", 0.05)
    node.alive = False
    with trio.fail_after(60):
        await raw.send(Status(1))
        status = await raw.receive()
        assert (status.ready, status.missing) == (False, ("supervisor", "dht"))
        assert status.name == "host"


async def test_status_of_a_node_that_has_said_nothing(starting_node):
    """What a part has not said yet is empty, and everything is missing."""
    with trio.fail_after(60):
        async with await trio.open_unix_socket(starting_node.control) as stream:
            raw = RawClient(stream)
            await raw.send(Status(1))
            status = await raw.receive()
            assert (status.name, status.peer, status.addresses, status.reachability) == ("", b"", (), "")
            assert status.missing == ("vault", "swarm", "dht")


async def test_a_subscription_is_a_snapshot_and_then_live(node, client, raw):
    """Done, then each present session, then what changes; a named one ends after its outcome."""
    first, second = "0a" * 8, "0b" * 8
    with trio.fail_after(60):
        await node.show_session(first)
        await node.show_session(second)
        await known(client, 2)
        await raw.send(Subscribe(1), Subscribe(2, second))
        assert await raw.receive() == Done(1)
        assert await raw.receive() == Done(2)
        events = [await raw.receive() for _ in range(3)]
        assert sorted((event.id, event.state.session) for event in events) == [
            (1, first),
            (1, second),
            (2, second),
        ]
        await node.deliver("supervisor", SessionEnded(second, "initiator", "expired"))
        events = [await raw.receive() for _ in range(2)]
        assert {event.id for event in events} == {1, 2}
        assert {event.state.outcome for event in events} == {"expired"}
        await node.show_session(first, "proving")
        event = await raw.receive()
        assert (event.id, event.state.stage) == (1, "proving")
        await raw.send(Subscribe(3, "0c" * 8))
        assert (await raw.receive()).code == "no_such_session"


async def test_a_slow_subscriber_gets_the_newest_and_holds_nobody_up(node, client, raw):
    """Thousands of states for one that does not read: others are answered, and it gets the last one."""
    session = "0a" * 8
    with trio.fail_after(30):
        await node.show_session(session)
        await known(client, 1)
        await raw.send(Subscribe(1))
        assert await raw.receive() == Done(1)
        total = 5_000
        for number in range(total):
            await node.show_session(session, message="x" * 190 + str(number))
        while not (await client.sessions())[0].message.endswith(str(total - 1)):
            pass
        received = 0
        while True:
            event = await raw.receive()
            assert isinstance(event, SessionEvent)
            received += 1
            if event.state.message.endswith(str(total - 1)):
                break
        assert received < total


async def test_one_client_has_a_bounded_number_of_open_requests(node, raw, monkeypatch):
    """Beyond the bound requests are left in the socket until others have been answered; none is lost."""
    with trio.fail_after(60):
        count = client_connection.MAX_OPEN_REQUESTS * 2
        await raw.send(*(ListDevices(id) for id in range(count)))
        numbers = []
        for _ in range(client_connection.MAX_OPEN_REQUESTS):
            (sent,) = await node.next_step("ListDevices")
            numbers.append(to_vault.decode(sent.body).request)
        assert node.steps == []
        answered = 0
        while answered < count:
            if not numbers:
                (sent,) = await node.next_step("ListDevices")
                numbers.append(to_vault.decode(sent.body).request)
            await node.deliver("vault", Devices(numbers.pop(), (), False))
            answered += 1
        assert {(await raw.receive()).id for _ in range(count)} == set(range(count))


async def test_a_bounded_number_of_clients(node, monkeypatch):
    """One more than the bound is told so and closed; a place that becomes free is given away again."""
    monkeypatch.setattr(actor, "MAX_CLIENTS", 1)
    with trio.fail_after(60):
        async with await trio.open_unix_socket(node.control) as first:
            one = RawClient(first)
            await one.send(Status(1))
            assert isinstance(await one.receive(), NodeStatus)
            async with await trio.open_unix_socket(node.control) as second:
                refused = await RawClient(second).receive()
                assert refused.code == "busy"


async def test_a_client_too_many_that_is_gone_already_harms_nobody(node, monkeypatch):
    """The refusal finds nobody to read it; the gateway serves the others as before."""
    monkeypatch.setattr(actor, "MAX_CLIENTS", 1)
    with trio.fail_after(60):
        async with await trio.open_unix_socket(node.control) as first:
            one = RawClient(first)
            for number in range(20):
                second = await trio.open_unix_socket(node.control)
                await second.aclose()
                await one.send(Status(number))
                assert isinstance(await one.receive(), NodeStatus)


async def test_who_may_use_the_socket(node, monkeypatch):
    """The same user or root; anybody else is closed at once, and the log says so."""
    assert may_use(1000, 1000)
    assert may_use(0, 1000)
    assert not may_use(1001, 1000)
    left, right = socket.socketpair()
    with left, right:
        assert peer_uid(trio.socket.from_stdlib_socket(left)) == os.getuid()
    monkeypatch.setattr(actor, "may_use", lambda uid, own_uid: False)
    with trio.fail_after(60):
        async with await trio.open_unix_socket(node.control) as stream:
            raw = RawClient(stream)
            try:
                await raw.send(Status(1))
                assert await raw.receive() is None
            except trio.BrokenResourceError:
                pass
        assert [line.event for line in node.logs] == ["control socket refused"]


async def test_devices_come_in_pages(node, client: NodeClient):
    """devices() asks on until there are no more."""
    device = Device(b"1" * 16, "a", "linux", b"p" * 38, b"k" * 32, "paired", 1.0, "0" * 16)
    found = []

    async def ask() -> None:
        found.extend(await client.devices())

    with trio.fail_after(60):
        async with trio.open_nursery() as inner:
            inner.start_soon(ask)
            for after, more in ((b"", True), (b"1" * 16, False)):
                (sent,) = await node.next_step("ListDevices")
                asked = to_vault.decode(sent.body)
                assert asked.after == after
                await node.deliver("vault", Devices(asked.request, (device,), more))
    assert found == [device, device]


async def test_refusals_of_the_vault(node, client: NodeClient):
    """A VaultError reaches the client with its code; a name that cannot be is refused before it is sent."""
    with trio.fail_after(60):
        with pytest.raises(ControlError) as wrong:
            await client.rename(b"d" * 16, "")
        assert wrong.value.code == "invalid_name"
        async with trio.open_nursery() as inner:

            async def refuse() -> None:
                (sent,) = await node.next_step("ForgetDevice")
                await node.deliver(
                    "vault", VaultError(to_vault.decode(sent.body).request, "no_such_device", "gone")
                )

            inner.start_soon(refuse)
            with pytest.raises(ControlError, match="gone") as refused:
                await client.forget(b"d" * 16)
        assert refused.value.code == "no_such_device"


async def test_actors(node, client):
    """The tree comes from the supervisor; one too large for a frame comes in pages, complete and in order."""
    with trio.fail_after(60):
        assert [one.actor for one in await client.actors()] == ["supervisor"]
        node.answer_barrier = False
        many = tuple(ActorInfo(f"session-{n:016x}", n, "running", 0, 1.0, 0, 1, 1) for n in range(2000))
        async with trio.open_nursery() as inner:

            async def serve() -> None:
                (sent,) = await node.next_step("ListActors")
                await node.answer(sent, many)

            inner.start_soon(serve)
            got = await client.actors()
        assert got == list(many)


async def test_a_page_of_a_list_that_is_gone_is_refused(node, client, raw):
    """Pages are cut from one list; where its place is lost the client is told, and begins again."""
    with trio.fail_after(60):
        await raw.send(ListActors(1, "session-0123456789abcdef"))
        refused = await raw.receive()
        assert (refused.id, refused.code) == (1, "busy")
        await raw.send(ListActors(2))
        assert (await raw.receive()).more is msgspec.UNSET
        assert [one.actor for one in await client.actors()] == ["supervisor"]


async def test_one_client_follows_as_many_sessions_as_the_node_may_have(node, raw):
    """A thousand subscriptions, each with its present state and its end; the bound is above that."""
    count = 1000
    with trio.fail_after(60):
        await node.deliver_standing("supervisor", SessionLimit(count))
        for number in range(count):
            await node.show_session(f"{number:016x}")
        async with open_client(node.control) as client:
            await known(client, count)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.send, *(Subscribe(n + 1, f"{n:016x}") for n in range(count)))
            states = 0
            while states < count:
                message = await raw.receive()
                assert not isinstance(message, Error), message.message
                states += isinstance(message, SessionEvent)
        for number in range(count):
            await node.show_session(f"{number:016x}", outcome="expired")
        ended = set()
        while len(ended) < count:
            event = await raw.receive()
            ended.add(event.state.session)
            assert event.state.outcome == "expired"
        bound = count + MIN_SUBSCRIPTIONS
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.send, *(Subscribe(9000 + n) for n in range(bound + 1)))
            while not isinstance(message := await raw.receive(), Error):
                pass
        assert (message.id, message.code) == (9000 + bound, "busy")


async def test_a_full_list_of_sessions_fits_a_frame(node, client, raw, code):
    """With more sessions than a frame holds there are pages, and it is said; the running ones come first."""
    with trio.fail_after(60):
        for number in range(200):
            ended = {"outcome": "expired"} if number % 2 else {"code": code}
            await node.show_session(f"{number:016x}", message="ü" * 200, **ended)
        await node.show_session("ff" * 8)
        while (await client.status()).sessions_active < 101:
            pass
        await raw.send(ListSessions(1))
        listed = await raw.receive()
        assert isinstance(listed, Sessions)
        assert len(listed.sessions) >= 64
        assert all(state.outcome is None for state in listed.sessions[:64])
        assert listed.more is True
        complete = {state.session for state in await client.sessions()}
        assert complete == {f"{number:016x}" for number in range(200)} | {"ff" * 8}


async def test_ended_sessions_are_forgotten_in_the_end(node, client):
    """The memory of sessions that are over is bounded; the oldest go first."""
    with trio.fail_after(60):
        for number in range(200):
            await node.deliver("supervisor", SessionEnded(f"{number:016x}", "joiner", "not_found"))
        await node.show_session("ff" * 8)
        while (await client.status()).sessions_active < 1:
            pass
        with pytest.raises(ControlError) as unknown:
            await client.session(f"{0:016x}")
        assert unknown.value.code == "no_such_session"
        assert (await client.session(f"{199:016x}")).state.outcome == "not_found"


async def test_stopping_lets_clients_have_what_they_are_owed(node, client, raw):
    """Outcomes that come just before the stop are still written."""
    session = "0a" * 8
    with trio.fail_after(60):
        await node.show_session(session)
        await known(client, 1)
        await raw.send(Subscribe(1, session))
        await raw.receive()
        await raw.receive()
        await node.show_session(session, outcome="cancelled")
        await node.stop()
        assert (await raw.receive()).state.outcome == "cancelled"
        assert await raw.receive() is None
