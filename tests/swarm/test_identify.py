"""Identify: the library has no event for its end, and does not repeat one that failed; corrected, it does."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
import varint
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.peer.id import ID

from spacedrive_node.actors.swarm.library import identify, streams
from spacedrive_node.messages.peer_protocol import PROTOCOL_ID
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, make, our_host, running

DEADLINE = 60


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_failed_identify_is_tried_again(corrected: bool) -> None:
    """The first stream to ask with is reset."""
    serving, asking = our_host(1), make(corrected, 2)
    tries = 0
    identified = trio.Event()
    answer = serving.get_mux().handlers[IDENTIFY]

    async def failing_once(stream: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            await stream.reset()
        else:
            await answer(stream)

    async def note(_peer: Any) -> None:
        if asking.get_peerstore().get_protocols(serving.get_id()):
            identified.set()

    serving.set_stream_handler(IDENTIFY, failing_once)
    if corrected:
        identify.after_identify(asking, note)
    async with running(serving, asking) as (address, _):
        with trio.fail_after(DEADLINE):
            await asking.get_network().dial_addr(address, serving.get_id())
            if corrected:
                await identified.wait()
                assert tries == 2
            else:
                while asking._identify_inflight or not tries:
                    await trio.lowlevel.checkpoint()
                assert not asking._identified_peers


@pytest.mark.parametrize("pushed", [False, True], ids=["answered", "pushed"])
@pytest.mark.parametrize(("corrected", "kept"), [(False, 30_000), (True, 0)])
async def test_a_message_above_64_kibibytes_is_not_read(corrected: bool, kept: int, pushed: bool) -> None:
    """All that it says is kept by default, half a megabyte; ours takes nothing of it."""
    stranger, host = our_host(1), make(corrected, 2)
    message = Identify(public_key=stranger.get_public_key().serialize())
    message.protocols.extend(f"/protocol/{number}" for number in range(30_000))
    data = message.SerializeToString()
    asked = trio.Event()

    async def answer(stream: Any) -> None:
        with suppress(Exception):
            await stream.write(varint.encode(len(data)) + data)
            await stream.close()
        asked.set()

    stranger.set_stream_handler(IDENTIFY, streams.reset if pushed else answer)
    async with running(stranger, host) as (_, address):
        with trio.fail_after(DEADLINE):
            connection = await stranger.get_network().dial_addr(address, host.get_id())
            if pushed:
                with suppress(streams.StreamError):
                    async with streams.open_stream(connection, ID_PUSH) as stream:
                        await streams.write(stream, varint.encode(len(data)) + data)
                        await streams.read_exactly(stream, 1)
            else:
                await asked.wait()
            while host._identify_inflight:
                await trio.lowlevel.checkpoint()
    store = host.get_peerstore()
    known = store.get_protocols(stranger.get_id()) if store.has_peer(stranger.get_id()) else []
    assert sum(one.startswith("/protocol/") for one in known) == kept


async def test_pushes_that_say_nothing_keep_nobody_from_pushing() -> None:
    """As many peers as can hold all places do so; a device that has another address is heard all the same."""
    host, honest = our_host(1), our_host(2)
    crowd = [our_host(number) for number in range(3, 3 + identify.MAX_PUSHES // identify.MAX_PUSHES_PER_PEER)]
    heard = trio.Event()

    async def then(peer_id: ID) -> None:
        if PROTOCOL in host.get_peerstore().get_protocols(peer_id):
            heard.set()

    identify.after_identify(host, then)
    async with running(host, honest, *crowd) as (address, *_), AsyncExitStack() as stack:
        with trio.fail_after(DEADLINE):
            await honest.get_network().dial_addr(address, host.get_id())
            for one in crowd:
                connection = await one.get_network().dial_addr(address, host.get_id())
                for _ in range(identify.MAX_PUSHES_PER_PEER):
                    stack.push_async_callback(
                        streams.reset, await streams.begin_stream(connection, ID_PUSH, b"\x10")
                    )
            await trio.testing.wait_all_tasks_blocked(0.05)
            honest.set_stream_handler(PROTOCOL, lambda _stream: None)
            await identify.push_identify(honest)
            await heard.wait()


async def test_identify_tells_when_it_has_run() -> None:
    """The library has no such event (an attribute of ours would show it); with ours, protocols are there."""
    server, client = our_host(1), our_host(2)
    told = trio.Event()

    async def then(peer_id: ID) -> None:
        if PROTOCOL in client.get_peerstore().get_protocols(peer_id):
            told.set()

    server.set_stream_handler(PROTOCOL, lambda _stream: None)
    identify.after_identify(client, then)
    async with running(server, client) as (address, _):
        await client.get_network().dial_addr(address, server.get_id())
        with trio.fail_after(60):
            await told.wait()


@pytest.mark.parametrize(("corrected", "known"), [(False, False), (True, True)], ids=["library", "ours"])
async def test_a_peer_that_comes_back_is_identified_again(corrected: bool, known: bool) -> None:
    """By default what its earlier connection showed stands for two hours, whatever it speaks by now."""
    server, client = our_host(1), make(corrected, 2)
    told = trio.Event()

    async def then(_peer_id: ID) -> None:
        told.set()

    if corrected:
        identify.after_identify(client, then)
    async with running(server, client) as (address, _):
        with trio.fail_after(DEADLINE):
            for protocol in (None, PROTOCOL):
                if protocol is not None:
                    server.set_stream_handler(protocol, lambda _stream: None)
                told = trio.Event()
                connection = await client.get_network().dial_addr(address, server.get_id())
                if corrected:
                    await told.wait()
                else:
                    while client._identify_inflight:
                        await trio.lowlevel.checkpoint()
                await connection.close()
    assert (PROTOCOL in client.get_peerstore().get_protocols(server.get_id())) is known


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_host_that_announces_nothing_tells_nothing(corrected: bool) -> None:
    """The library waits half a second and then tells where it listens, in the message and in no record."""
    serving, asking = our_host(1), our_host(2)
    if corrected:
        identify.tell_only_announced(serving)
    async with running(serving, asking) as (address, _):
        with trio.fail_after(DEADLINE):
            connection = await asking.get_network().dial_addr(address, serving.get_id())
            async with streams.open_stream(connection, IDENTIFY) as stream:
                message = Identify()
                message.ParseFromString(await streams.read_varint_message(stream, 64 * 1024))
    assert bool(message.listen_addrs) != corrected
    assert message.public_key == serving.get_public_key().serialize()
    assert message.observed_addr


@pytest.mark.parametrize(
    ("dials", "told"), [(True, True), (False, False)], ids=["was reached", "has dialled"]
)
async def test_a_hidden_protocol_is_told_to_who_has_reached_this_host(dials: bool, told: bool) -> None:
    """From its own network; asked or pushed. To others it is told when it is hidden no more."""
    hiding, asking = our_host(1), our_host(2)
    heard = trio.Event()

    async def then(_peer: Any) -> None:
        heard.set()

    def knows() -> bool:
        return PROTOCOL in asking.get_peerstore().get_protocols(hiding.get_id())

    hiding.set_stream_handler(PROTOCOL, lambda _stream: None)
    identify.hide_protocol(hiding, PROTOCOL, hidden=True)
    identify.after_identify(asking, then)
    async with running(hiding, asking) as (address, other):
        with trio.fail_after(DEADLINE):
            if dials:
                await asking.get_network().dial_addr(address, hiding.get_id())
            else:
                await hiding.get_network().dial_addr(other, asking.get_id())
            for hidden in (True, True, False):
                await heard.wait()
                assert knows() is told
                heard = trio.Event()
                identify.hide_protocol(hiding, PROTOCOL, hidden=hidden)
                await identify.push_identify(hiding)
            await heard.wait()
            assert knows()


@asynccontextmanager
async def pushing_to_silent_ones(count: int, release: trio.Event) -> AsyncIterator[tuple[Any, Any, Any]]:
    """A host that is connected with peers who take a push and say nothing, and with one that reads it.

    All have been identified. Gives the host, the peer that reads, and an event: one of the others has a push.
    """
    host, honest = our_host(1), our_host(2)
    silent = [our_host(number) for number in range(3, 3 + count)]
    asked = trio.Event()

    async def say_nothing(stream: Any) -> None:
        asked.set()
        await release.wait()
        await streams.reset(stream)

    async with running(host, honest, *silent) as (_, *addresses):
        for one, address in zip((honest, *silent), addresses, strict=True):
            await host.get_network().dial_addr(address, one.get_id())
            with trio.fail_after(DEADLINE):
                while host.get_id() not in one._identified_peers:
                    await trio.lowlevel.checkpoint()
            if one is not honest:
                one.get_network().set_stream_handler(say_nothing)
        yield host, honest, asked


async def until_pushed(host: Any, peer: Any) -> None:
    """Wait until a peer has heard that a host speaks PROTOCOL."""
    with trio.fail_after(DEADLINE):
        while PROTOCOL not in peer.get_peerstore().get_protocols(host.get_id()):
            await trio.lowlevel.checkpoint()


async def test_the_devices_of_pairings_are_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two hundred laptops that sleep each would hold up a push by ten seconds."""
    monkeypatch.setattr(identify, "_MAX_PUSHES_AT_ONCE", 1)
    monkeypatch.setattr(identify, "_TIMEOUT_S", 2 * DEADLINE)
    async with pushing_to_silent_ones(9, trio.Event()) as (host, honest, _), trio.open_nursery() as nursery:
        (connection,) = host.get_network().get_connections(honest.get_id())
        streams.note_use(connection, PROTOCOL_ID)
        host.set_stream_handler(PROTOCOL, lambda _stream: None)
        nursery.start_soon(identify.push_identify, host)
        await until_pushed(host, honest)
        nursery.cancel_scope.cancel()


async def test_a_push_that_had_to_wait_says_what_is_true_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later one may have come before it, and what it said would be forgotten again."""
    monkeypatch.setattr(identify, "_MAX_PUSHES_AT_ONCE", 1)
    release = trio.Event()
    async with pushing_to_silent_ones(1, release) as (host, honest, asked), trio.open_nursery() as nursery:
        for connection in host.get_network().get_connections():
            if connection.muxed_conn.peer_id != honest.get_id():
                streams.note_use(connection, PROTOCOL_ID)  # so that it comes first
        with trio.fail_after(DEADLINE):
            nursery.start_soon(identify.push_identify, host)
            await asked.wait()
        host.set_stream_handler(PROTOCOL, lambda _stream: None)
        release.set()
        await until_pushed(host, honest)


async def test_what_a_peer_sees_of_this_host_is_told() -> None:
    """The address from which the connection came, over which identify has run."""
    one, other = our_host(1), our_host(2)
    seen: list[tuple[Any, str]] = []
    told = trio.Event()

    def note(connection: Any, text: str) -> None:
        seen.append((connection, text))
        told.set()

    identify.on_observed(one, note)
    async with running(one, other) as (_, address):
        with trio.fail_after(DEADLINE):
            made = await one.get_network().dial_addr(address, other.get_id())
            await told.wait()
            port = made.muxed_conn.get_remote_address()[1]
    ((connection, text),) = seen
    assert connection is made
    assert text.startswith("/ip4/127.0.0.1/tcp/")
    assert not text.endswith(f"/{port}")
