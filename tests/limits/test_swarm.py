"""Limits of docs/protocol.md at the ports of a real swarm, each reached by real peers over each transport."""

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import trio
import varint
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.pb.kademlia_pb2 import Message
from libp2p.network.exceptions import SwarmException
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from multiaddr import Multiaddr

from spacedrive_node.actors.base import now
from spacedrive_node.actors.swarm import node
from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.actors.swarm.pairing import exchange_slots, inbound
from spacedrive_node.actors.swarm.pairing.ban_list import BanList
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import WIRE_LIMIT, encode
from spacedrive_node.messages.peer_protocol import (
    PROTOCOL_ID,
    Challenge,
    PairingDecision,
    PairingRequest,
    Refused,
    decode_wire,
)
from spacedrive_node.messages.to_discovery import KadFailed, KadReply, ServerLost
from spacedrive_node.messages.to_session import PeerAnswer, PeerRequest
from spacedrive_node.messages.to_swarm import Ask, KadRequest, PeerReply, Serve
from spacedrive_node.protocol.code import code_id
from spacedrive_node.tests.harness.stranger_peer import REQUEST, A, dial, framed, send, stranger_host
from spacedrive_node.tests.harness.swarm_actors import FakeSupervisor, local, open_swarm
from spacedrive_node.tests.harness.transports import EACH_TRANSPORT, listen_addresses

pytestmark = EACH_TRANSPORT
ROUTE_KEY = b"r" * 32


async def exchange(connection: Any, frame: bytes) -> Any:
    with trio.fail_after(20):
        async with streams.open_stream(connection, PROTOCOL_ID) as stream:
            await streams.write_frame(stream, frame)
            return decode_wire(await streams.read_frame(stream))


async def ask_server(a: FakeSupervisor, server: FakeSupervisor, number: int) -> None:
    """Have a DHT server asked something, and dialled for it."""
    request = KadRequest(number, server.peer, server.addresses, "find_node", server.peer, timeout=20.0)
    await a.deliver("discovery", request)
    await a.expect(KadReply, "discovery", lambda m: m.request == number)


async def is_shut_out(host: Any, a: FakeSupervisor) -> bool:
    """Whether a new connection is closed at once, or not even made."""
    with trio.move_on_after(10):
        try:
            connection = await dial(host, a)
        except Exception:  # the library has many names for a dial that fails
            return True
        with trio.move_on_after(0.2):
            await connection.event_closed.wait()
            return True
        try:
            await exchange(connection, REQUEST)
        except streams.StreamError:
            return True
    return False


async def test_three_hundred_useless_frames_of_an_address_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many peers, none of them thirty: their block is slow. An honest device of it is served as before and
    stays connected; a new stranger of it has three frames, of which none is answered at once.
    """
    waiting: list[bytes] = []
    """The peer of each frame that was made to wait."""
    is_slowed = BanList.is_slowed

    def watched(bans: BanList, peer: bytes, address_block: str | None, now: float) -> bool:
        slowed = is_slowed(bans, peer, address_block, now)
        waiting.extend([peer] * slowed)
        return slowed

    monkeypatch.setattr(BanList, "is_slowed", watched)
    async with open_swarm("a") as a, trio.open_nursery() as nursery:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        async with AsyncExitStack() as stack:
            honest = await stack.enter_async_context(stranger_host(500))
            connection = await dial(honest, a)
            name = code_id(ROUTE_KEY, a.peer, honest.get_id().to_bytes())
            request = encode(PairingRequest(2, name, b"t" * 16, b"e" * 32, b"c" * 32))
            challenge = encode(Challenge(name, b"t" * 16, b"e" * 32, b"n" * 32, b"p" * 32))

            async def session() -> None:
                while True:
                    await a.deliver(A, PeerReply((await a.expect(PeerRequest)).request, challenge))

            strangers = [await stack.enter_async_context(stranger_host(600 + n)) for n in range(11)]
            answers: list[Any] = []

            async def be_useless(host: Any) -> None:
                connection = await dial(host, a)
                for number in range(28):
                    try:
                        answers.append(await exchange(connection, without_code(number)))
                    except streams.StreamError:
                        return

            async with trio.open_nursery() as crowd:
                for host in strangers:
                    crowd.start_soon(be_useless, host)
            assert {answer.reason for answer in answers} == {"unavailable"}
            assert len(answers) < 11 * 28
            nursery.start_soon(session)
            assert isinstance(await exchange(connection, request), Challenge)
            assert not connection.is_closed
            assert honest.get_id().to_bytes() not in waiting
            late = await stack.enter_async_context(stranger_host(700))
            answers.clear()
            await be_useless(late)
            assert 1 <= len(answers) <= waiting.count(late.get_id().to_bytes()) <= 3
            assert await is_shut_out(late, a)
            assert isinstance(await exchange(await dial(honest, a), request), Challenge)
        nursery.cancel_scope.cancel()


def without_code(number: int) -> bytes:
    return encode(PairingRequest(2, b"i" * 16, number.to_bytes(16, "big"), b"e" * 32, b"c" * 32))


@pytest.mark.parametrize("useless", [lambda _: b"garbage", without_code], ids=["undecodable", "no code"])
async def test_a_peer_with_thirty_is_shut_out_for_ten_minutes(
    useless: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it alone: another peer of the same block is served meanwhile; afterwards it is again."""
    async with open_swarm("a") as a, stranger_host(1) as host, stranger_host(2) as other:
        connection = await dial(host, a)
        for number in range(30):
            try:
                await send(connection, framed(useless(number)))
            except streams.StreamError:
                continue
        with trio.fail_after(60):
            await connection.event_closed.wait()
        assert await is_shut_out(host, a)
        assert isinstance(await exchange(await dial(other, a), REQUEST), Refused)
        for module in (node, inbound):
            monkeypatch.setattr(module, "now", lambda: now() + 601)
        assert isinstance(await exchange(await dial(host, a), REQUEST), Refused)


@pytest.mark.parametrize("beginning", [b"", b"\x00", (100).to_bytes(4, "big") + b"x"])
async def test_a_request_that_does_not_come_ends(beginning: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is reset when the time for reading is over; that is no offence."""
    monkeypatch.setattr(inbound, "READ_TIMEOUT_S", 0.2)
    async with open_swarm("a") as a, stranger_host() as host:
        connection = await dial(host, a)
        with pytest.raises(streams.StreamError):
            await send(connection, beginning)
        monkeypatch.undo()  # what comes completely may take its time
        assert isinstance(await exchange(connection, REQUEST), Refused)


async def test_one_exchange_has_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, the session's answer and writing together; then the stream is reset."""
    assert inbound.EXCHANGE_TIMEOUT_S == 10.0
    monkeypatch.setattr(inbound, "EXCHANGE_TIMEOUT_S", 2.0)
    async with open_swarm("a") as a, stranger_host() as host:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        connection = await dial(host, a)
        name = code_id(ROUTE_KEY, a.peer, host.get_id().to_bytes())
        with pytest.raises(streams.StreamError):
            await exchange(connection, encode(PairingRequest(2, name, b"t" * 16, b"e" * 32, b"c" * 32)))
        assert a.count(PeerRequest) == 1


async def test_strangers_who_hold_all_exchanges_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen peers with sixteen streams each say nothing; who comes then is answered, one of theirs ends.

    A peer's seventeenth stream is reset.
    """
    for name in ("READ_TIMEOUT_S", "EXCHANGE_TIMEOUT_S"):
        monkeypatch.setattr(inbound, name, 60.0)
    ended: list[int] = []

    async def hold(number: int, stream: Any) -> None:
        with suppress(streams.StreamError):
            await streams.read_exactly(stream, 1)
        ended.append(number)

    async def occupy(a: FakeSupervisor, number: int, task_status: Any) -> None:
        async with stranger_host(300 + number) as host, trio.open_nursery() as readers:
            connection = await dial(host, a)
            for _ in range(exchange_slots.MAX_EXCHANGES_PER_PEER):
                stream = await connection.new_stream()
                choice = MultiselectCommunicator(stream)
                await MultiselectClient().select_one_of([TProtocol(PROTOCOL_ID)], choice, 10)
                await streams.write(stream, b"\x00")
                readers.start_soon(hold, number, stream)
            if number == 0:
                with pytest.raises(streams.StreamError):
                    await exchange(connection, REQUEST)
            task_status.started()

    async with open_swarm("a") as a, stranger_host(1) as late, trio.open_nursery() as crowd:
        with trio.fail_after(60):
            for number in range(exchange_slots.MAX_EXCHANGES // exchange_slots.MAX_EXCHANGES_PER_PEER):
                await crowd.start(occupy, a, number)
            assert ended == []
            connection = await dial(late, a)
            for _ in range(3):
                assert isinstance(await exchange(connection, REQUEST), Refused)
            while not ended:
                await trio.lowlevel.checkpoint()
        assert ended[0] == 0
        assert len(ended) <= 3
        crowd.cancel_scope.cancel()


async def test_strangers_who_take_all_connections_keep_nobody_out() -> None:
    """Twice as many peers of one address block as may connect: a device of another one gets in and stays, and
    this node can still dial.
    """
    config = SwarmConfig(listen=listen_addresses(), max_connections=16)
    async with (
        open_swarm("a", config) as a,
        open_swarm("b") as b,
        stranger_host(1) as first,
        stranger_host(2) as second,
        AsyncExitStack() as stack,
    ):
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        early = await dial(first, a)
        hosts = [await stack.enter_async_context(stranger_host(300 + number)) for number in range(32)]
        crowd: list[Any] = []
        for host in hosts:
            with suppress(SwarmException):  # it comes faster than others can be closed
                crowd.append(await dial(host, a, source=("127.1.0.1", 0)))

        async def crowd_is(most: int) -> None:
            with trio.fail_after(20):
                while sum(not one.is_closed for one in crowd) > most:
                    await trio.lowlevel.checkpoint()

        await crowd_is(13)  # fourteen may come in
        late = await dial(second, a)
        await crowd_is(12)
        for connection in (early, late):
            assert isinstance(await exchange(connection, REQUEST), Refused)
        assert sum(not one.is_closed for one in crowd) == 12
        await b.deliver(A, Serve(ROUTE_KEY, "joiner"))
        decision = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
        await a.deliver(A, Ask(1, b.peer, b.addresses, decision))
        assert (await a.expect(PeerAnswer)).request == 1


async def test_connections_in_both_directions_keep_nobody_out() -> None:
    """As many servers as this node dials are connected, and as many peers as may be; one more gets in."""
    config = SwarmConfig(listen=listen_addresses(), max_connections=16)
    async with open_swarm("a", config) as a, stranger_host(1) as late, AsyncExitStack() as stack:
        for number in range(2):
            await ask_server(a, await stack.enter_async_context(open_swarm(f"server {number}")), number)
        crowd: list[Any] = []
        for number in range(14):
            host = await stack.enter_async_context(stranger_host(300 + number))
            crowd.append(await dial(host, a, source=("127.1.0.1", 0)))
        for connection in crowd:
            assert isinstance(await exchange(connection, REQUEST), Refused)
        assert isinstance(await exchange(await dial(late, a), REQUEST), Refused)
        with trio.fail_after(20):
            while sum(not one.is_closed for one in crowd) > 13:
                await trio.lowlevel.checkpoint()


async def test_lookups_leave_the_connection_of_a_pairing_on_which_only_the_other_side_asks() -> None:
    """This side has dialled it: through a hole in a NAT, or because it is in another network by now."""
    config = SwarmConfig(listen=listen_addresses(), max_connections=16)
    async with open_swarm("a", config) as a, open_swarm("b") as b, AsyncExitStack() as stack:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        await ask_server(a, b, 1)
        name = code_id(ROUTE_KEY, a.peer, b.peer)
        challenge = encode(Challenge(name, b"t" * 16, b"e" * 32, b"n" * 32, b"p" * 32))
        request = encode(PairingRequest(2, name, b"t" * 16, b"e" * 32, b"c" * 32))
        await b.deliver(A, Ask(1, a.peer, (), request))
        await a.deliver(A, PeerReply((await a.expect(PeerRequest)).request, challenge))
        await b.expect(PeerAnswer)
        for number in range(2, 6):
            await ask_server(a, await stack.enter_async_context(open_swarm(f"server {number}")), number)
        await b.deliver(A, Ask(2, a.peer, (), request))
        await a.deliver(A, PeerReply((await a.expect(PeerRequest)).request, challenge))
        await b.expect(PeerAnswer)


async def test_a_server_whose_answers_are_not_read_to_their_end_can_be_asked_again() -> None:
    """What nobody will read counts as read: else some answers of this size took all of the window."""
    message = Message(type=Message.MessageType.GET_PROVIDERS)
    for number in range(4000):
        entry = message.providerPeers.add()
        entry.id = b"\x12\x20" + number.to_bytes(32, "big")
        entry.addrs.append(Multiaddr("/ip4/127.0.0.1/tcp/1").to_bytes())
    data = message.SerializeToString()

    async def answer(stream: Any) -> None:
        with suppress(streams.StreamError):
            await streams.write(stream, varint.encode(len(data)) + data)
            await streams.close(stream)

    async with open_swarm("a") as a, stranger_host() as server:
        made: list[Any] = []
        server.get_network().register_notifee(ConnectionEvents(made.append, lambda _one: None))
        server.set_stream_handler(TProtocol(local().dht_protocol), answer)
        await server.get_network().listen(Multiaddr(listen_addresses()[0]))
        peer, where = server.get_id().to_bytes(), (str(server.get_transport_addrs()[0]),)
        for number in range(32):
            request = KadRequest(number, peer, where, "get_providers", b"\x12\x20" + bytes(32), timeout=5.0)
            await a.deliver("discovery", request)
            assert isinstance(await a.expect(KadReply | KadFailed, "discovery"), KadReply)
        assert len(made) == 1


async def test_lookups_leave_room_for_a_pairing() -> None:
    """More servers are asked than connections may be open; then a device is dialled, and another dials."""
    config = SwarmConfig(listen=listen_addresses(), max_connections=16)
    async with (
        open_swarm("a", config) as a,
        open_swarm("b") as b,
        stranger_host() as host,
        AsyncExitStack() as stack,
    ):
        for number in range(20):
            await ask_server(a, await stack.enter_async_context(open_swarm(f"server {number}")), number)
        await b.deliver(A, Serve(ROUTE_KEY, "joiner"))
        decision = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
        await a.deliver(A, Ask(1, b.peer, b.addresses, decision))
        assert (await a.expect(PeerAnswer)).request == 1
        assert isinstance(await exchange(await dial(host, a), REQUEST), Refused)
        for _ in range(20 - 2):
            assert (await a.expect(ServerLost)).gave_way


async def test_a_frame_of_sixteen_kibibytes_is_read_and_no_larger_one() -> None:
    """Both are refused, the larger one by its length alone."""
    async with open_swarm("a") as a, stranger_host() as host:
        connection = await dial(host, a)
        for data in (framed(bytes(WIRE_LIMIT)), (WIRE_LIMIT + 1).to_bytes(4, "big")):
            with pytest.raises(streams.StreamError):
                await send(connection, data)
        assert isinstance(await exchange(connection, REQUEST), Refused)


async def test_ten_repeats_in_a_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame and ten repeats reach the session; the next one is `busy`."""
    async with open_swarm("a") as a, stranger_host() as host, trio.open_nursery() as nursery:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        connection = await dial(host, a)
        name = code_id(ROUTE_KEY, a.peer, host.get_id().to_bytes())
        frame = encode(PairingRequest(2, name, b"t" * 16, b"e" * 32, b"c" * 32))

        async def session() -> None:
            while True:
                request = await a.expect(PeerRequest)
                challenge = Challenge(name, b"t" * 16, b"e" * 32, b"n" * 32, b"p" * 32)
                await a.deliver(A, PeerReply(request.request, encode(challenge)))

        monotonic = inbound.now()
        monkeypatch.setattr(inbound, "now", lambda: monotonic)
        nursery.start_soon(session)
        kinds = [type(await exchange(connection, frame)) for _ in range(13)]
        nursery.cancel_scope.cancel()
    assert kinds == [Challenge] * 11 + [Refused] * 2
