"""Who watches the devices is told to list them: at once, at each change, once if slow, and not otherwise."""

import os
from typing import Any

import pytest
import trio

from spacedrive_node.actors.gateway.node_state import MIN_SUBSCRIPTIONS
from spacedrive_node.actors.gateway.outbox import Outbox
from spacedrive_node.client.node_client import ControlError, NodeClient
from spacedrive_node.messages import to_vault
from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, Message
from spacedrive_node.messages.control_protocol import (
    DevicesChanged,
    Done,
    Error,
    ForgetDevice,
    RenameDevice,
    Reply,
    SessionEvent,
    Status,
    Subscribe,
    WatchDevices,
    decode_reply,
)
from spacedrive_node.messages.from_supervisor import ActorRestarted, SessionEnded
from spacedrive_node.messages.to_gateway import (
    Confirmation,
    DeviceChanged,
    Readiness,
    StoredDevicesChanged,
    VaultError,
)
from spacedrive_node.tests.harness.gateway_actor import GatewayHost
from spacedrive_node.tests.harness.raw_client import RawClient

SESSION, OTHER = "0a" * 8, "0b" * 8
ID = b"d" * 16


async def watch(raw: RawClient, id: int = 1) -> None:
    """Begin to watch, and take the first event."""
    await raw.send(WatchDevices(id))
    assert await raw.receive() == Done(id)
    assert await raw.receive() == DevicesChanged(id)


async def hears_nothing(node: GatewayHost, raw: RawClient, client: NodeClient) -> None:
    """All that was delivered has been handled, and the next thing that the client reads is its own reply."""
    session = os.urandom(8).hex()
    await node.show_session(session)
    while not any(state.session == session for state in await client.sessions()):
        pass
    for id in (98, 99):  # what was queued comes after the reply that was queued with it
        await raw.send(Status(id))
        reply = await raw.receive()
        assert reply is not None
        assert reply.id == id, reply


@pytest.mark.parametrize("kind", ["RenameDevice", "ForgetDevice"])
async def test_what_another_client_changes_is_told(
    node: GatewayHost, raw: RawClient, client: NodeClient, kind: str
) -> None:
    """Once the vault has it, not before; and nothing if the vault refuses."""
    change = {
        "RenameDevice": lambda: client.rename(ID, "attic"),
        "ForgetDevice": lambda: client.forget(ID),
    }[kind]
    with trio.fail_after(60):
        await watch(raw)
        async with trio.open_nursery() as inner:
            inner.start_soon(change)
            (sent,) = await node.next_step(kind)
            await hears_nothing(node, raw, client)
            request: Any = to_vault.decode(sent.body)
            await node.deliver("vault", DeviceChanged(request.request))
        assert await raw.receive() == DevicesChanged(1)
        async with trio.open_nursery() as inner:

            async def refuse() -> None:
                (sent,) = await node.next_step(kind)
                asked: Any = to_vault.decode(sent.body)
                await node.deliver("vault", VaultError(asked.request, "no_such_device", "gone"))

            inner.start_soon(refuse)
            with pytest.raises(ControlError, match="gone"):
                await change()
        await hears_nothing(node, raw, client)


async def test_a_repeated_key_and_an_answer_that_comes_late_are_told(
    node: GatewayHost, raw: RawClient
) -> None:
    """A gateway does not know what its former incarnation was asked; that answer counts all the same."""
    with trio.fail_after(60):
        await watch(raw)
        await node.deliver("vault", DeviceChanged(12345))
        assert await raw.receive() == DevicesChanged(1)
        requests: list[Message] = [
            RenameDevice(5, bytes(16), ID, "attic"),
            RenameDevice(6, bytes(16), ID, "attic"),
            ForgetDevice(7, os.urandom(16), ID),
        ]
        for request in requests:
            await raw.send(request)
            (sent,) = await node.next_step(type(request).__name__)
            asked: Any = to_vault.decode(sent.body)
            await node.deliver("vault", DeviceChanged(asked.request))
            assert {await raw.receive(), await raw.receive()} == {Done(request.id), DevicesChanged(1)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("outcome", ["paired", "lost_contact", "rejected"])
async def test_a_pairing_is_told_when_it_stores_and_when_it_ends(
    node: GatewayHost, raw: RawClient, client: NodeClient, proven_device: Confirmation, outcome: str
) -> None:
    """By the view that comes with the request to store, and by the end of a session that showed a device."""
    with trio.fail_after(60):
        await watch(raw)
        await node.show_session(SESSION, "searching")
        await node.show_session(SESSION, "deciding", confirmation=proven_device)
        await node.show_session(SESSION, "deciding", confirmation=proven_device, accepted=True)
        await hears_nothing(node, raw, client)
        if outcome != "rejected":
            await node.show_session(SESSION, "storing", confirmation=proven_device, accepted=True)
            assert await raw.receive() == DevicesChanged(1)
        await node.show_session(
            SESSION, "storing", confirmation=proven_device, accepted=True, outcome=outcome
        )
        assert await raw.receive() == DevicesChanged(1)
        await node.deliver("supervisor", SessionEnded(SESSION, "initiator", outcome))  # type: ignore[arg-type]
        await hears_nothing(node, raw, client)


async def test_a_session_that_crashed_may_have_stored(
    node: GatewayHost, raw: RawClient, proven_device: Confirmation
) -> None:
    with trio.fail_after(60):
        await node.show_session(SESSION, "deciding", confirmation=proven_device, accepted=True)
        await watch(raw)
        await node.deliver("supervisor", SessionEnded(SESSION, "initiator", "crashed"))
        assert await raw.receive() == DevicesChanged(1)


@pytest.mark.parametrize("outcome", ["not_found", "wrong_code", "expired", "cancelled", "crashed", "busy"])
async def test_a_pairing_that_found_nobody_is_no_change(
    node: GatewayHost, raw: RawClient, client: NodeClient, outcome: Any
) -> None:
    """By its last view, or by the supervisor's word alone; who is subscribed to it hears its end."""
    with trio.fail_after(60):
        await watch(raw)
        await node.show_session(SESSION, "searching")
        await node.show_session(SESSION, "proving", outcome=outcome)
        await node.deliver("supervisor", SessionEnded(OTHER, "joiner", outcome))
        await hears_nothing(node, raw, client)


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("vault", StoredDevicesChanged()),
        ("supervisor", ActorRestarted("vault")),
        ("vault", Readiness("vault", True)),
    ],
)
async def test_the_vault_is_back_or_has_settled(
    node: GatewayHost, raw: RawClient, sender: str, message: Message
) -> None:
    with trio.fail_after(60):
        await watch(raw)
        await node.deliver(sender, message)
        assert await raw.receive() == DevicesChanged(1)


async def test_what_other_actors_do_is_no_change(
    node: GatewayHost, raw: RawClient, client: NodeClient
) -> None:
    with trio.fail_after(60):
        await watch(raw)
        await node.deliver("supervisor", ActorRestarted("swarm"))
        await node.deliver("swarm", Readiness("swarm", True))
        await hears_nothing(node, raw, client)


async def test_one_that_is_slow_is_told_once_and_holds_nobody_up(
    node: GatewayHost, raw: RawClient, client: NodeClient
) -> None:
    """Thousands of changes for a client that does not read: one event for each watch is kept, no queue."""
    with trio.fail_after(60):
        await node.show_session(SESSION)
        while not await client.sessions():
            pass
        await raw.send(Subscribe(1), WatchDevices(2), WatchDevices(3))
        begun = [await raw.receive() for _ in range(6)]
        assert begun.count(DevicesChanged(2)) == begun.count(DevicesChanged(3)) == 1
        # As much as the socket holds of what a session shows; from then on nothing is written to this client.
        for number in range(3_000):
            await node.show_session(SESSION, message="x" * 190 + str(number))
        while not (await client.sessions())[0].message.endswith("2999"):
            pass
        total = 5_000
        for _ in range(total):
            await node.deliver("vault", StoredDevicesChanged())
        await node.show_session(OTHER)
        while len(await client.sessions()) < 2:
            pass
        heard = []
        while True:
            event = await raw.receive()
            heard.append(event)
            if isinstance(event, SessionEvent) and event.state.session == OTHER:
                break
        for id in (2, 3):
            assert 0 < heard.count(DevicesChanged(id)) < total


def test_of_the_events_that_were_not_sent_one_is_kept_for_each_watch() -> None:
    """After the replies, and before the states of sessions; nothing of it is left when it was sent."""
    outbox = Outbox(lambda: 8)
    outbox.watch_devices(WatchDevices(2))
    outbox.watch_devices(WatchDevices(3))
    assert written(outbox) == [Done(2), Done(3), DevicesChanged(2), DevicesChanged(3)]
    for _ in range(1000):
        outbox.publish_device_change()
    outbox.reply(Done(9))
    assert written(outbox) == [Done(9), DevicesChanged(2), DevicesChanged(3)]
    assert not outbox.pending
    assert written(outbox) == []


def written(outbox: Outbox) -> list[Reply]:
    reader, found = FrameReader(CONTROL_LIMIT), []
    reader.feed(outbox.pop_batch())
    while (payload := reader.next_frame()) is not None:
        found.append(decode_reply(payload))
    return found


async def test_watches_count_as_subscriptions(node: GatewayHost, raw: RawClient) -> None:
    """Both kinds share one bound, and one too many of either is refused."""
    with trio.fail_after(60):
        bound = MIN_SUBSCRIPTIONS + 256
        kinds: list[Any] = [Subscribe, WatchDevices]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raw.send, *(kinds[id % 2](id) for id in range(bound + 2)))
            refused: list[Error] = []
            while len(refused) < 2:
                message = await raw.receive()
                if isinstance(message, Error):
                    refused.append(message)
        assert [(error.id, error.code) for error in refused] == [(bound, "busy"), (bound + 1, "busy")]


async def test_a_watch_that_is_made_again_begins_with_the_first_event(
    node: GatewayHost, nursery: trio.Nursery
) -> None:
    """That of a former gateway is gone with it; what changed in between is covered by the new one."""
    with trio.fail_after(60):
        async with await trio.open_unix_socket(node.control) as stream:
            await watch(RawClient(stream))
            await node.kill()
        await node.run_gateway(nursery)
        async with await trio.open_unix_socket(node.control) as stream:
            await watch(RawClient(stream), 7)
