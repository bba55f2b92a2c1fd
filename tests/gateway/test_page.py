"""The connection of the page: control frames in messages, one batch under way; it cannot stop the node."""

import os
from typing import Any, get_args

import pytest
import trio
import trio.testing

from spacedrive_node.actors.gateway.client_connection import MAX_OPEN_REQUESTS
from spacedrive_node.actors.gateway.page_connection import MAX_UNREAD_MESSAGES, PAGE_REQUESTS
from spacedrive_node.messages import control_protocol as c
from spacedrive_node.messages import to_web
from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, Message, encode, frame
from spacedrive_node.messages.to_gateway import FramesRead, PageFrames
from spacedrive_node.tests.harness.gateway_actor import GatewayHost

SESSION = "00000000000000aa"
OTHER = "00000000000000bb"


async def send(node: GatewayHost, connection: int, request: Message) -> None:
    await node.deliver("web", PageFrames(connection, frame(encode(request), CONTROL_LIMIT)))


async def replies(node: GatewayHost, connection: int) -> list[c.Reply]:
    """Return the next batch of replies."""
    (out,) = await node.next_step("GatewayFrames")
    message = to_web.decode(out.body)
    assert isinstance(message, to_web.GatewayFrames)
    assert (out.to, message.connection) == ("web", connection)
    reader, found = FrameReader(CONTROL_LIMIT), []
    reader.feed(message.frames)
    while (payload := reader.next_frame()) is not None:
        found.append(c.decode_reply(payload))
    return found


async def test_the_page_is_served_as_a_client(node: GatewayHost) -> None:
    with trio.fail_after(60):
        await send(node, 1, c.Status(7))
        (status,) = await replies(node, 1)
        assert isinstance(status, c.NodeStatus)
        assert status.id == 7


async def test_the_next_batch_comes_when_the_last_was_read(node: GatewayHost) -> None:
    """States that come meanwhile are in it, each in its newest form only."""
    with trio.fail_after(60):
        await send(node, 1, c.Subscribe(1))
        assert await replies(node, 1) == [c.Done(1)]
        await node.show_session(SESSION, "waiting")
        await node.show_session(SESSION, "proving")
        await node.show_session(OTHER, "waiting")
        await send(node, 1, c.ListSessions(2))
        await send(node, 1, c.Shutdown(3, os.urandom(16)))
        await trio.testing.wait_all_tasks_blocked()
        assert not any(out.kind == "GatewayFrames" for step in node.steps for out in step)
        await node.deliver("web", FramesRead(1))
        found = await replies(node, 1)
        events = {one.state.session: one.state.stage for one in found if isinstance(one, c.SessionEvent)}
        assert events == {SESSION: "proving", OTHER: "waiting"}
        assert len(found) == 4


@pytest.mark.parametrize("refused", [c.Shutdown, c.Reload])
async def test_the_page_cannot_stop_the_node_nor_reload_it(node: GatewayHost, refused: Any) -> None:
    """A page that was taken over, or its token stolen: it pairs and forgets, but the node goes on."""
    with trio.fail_after(60):
        await send(node, 1, refused(5, os.urandom(16)))
        (refusal,) = await replies(node, 1)
        assert isinstance(refusal, c.Error)
        assert (refusal.id, refusal.code) == (5, "bad_request")
        assert not any(out.kind == refused.__name__ for step in node.steps for out in step)


def test_every_request_is_one_of_the_page_or_is_refused_it() -> None:
    """A request that is added later is refused until somebody decides."""
    assert {*get_args(c.Request)} - {*PAGE_REQUESTS} == {c.Shutdown, c.Reload}


async def test_a_new_connection_takes_the_place_of_the_former(node: GatewayHost) -> None:
    """As after a restart of web, which never reads what its former process had asked for."""
    with trio.fail_after(60):
        await send(node, 1, c.Subscribe(1))
        await replies(node, 1)
        await node.show_session(SESSION, "waiting")
        await send(node, 2, c.Subscribe(9))
        found = await replies(node, 2)
        assert [one.id for one in found] == [9, 9]
        await node.deliver("web", FramesRead(1))  # of the former: it counts for nothing
        await node.show_session(SESSION, "proving")
        await node.deliver("web", FramesRead(2))
        (event,) = await replies(node, 2)
        assert isinstance(event, c.SessionEvent)
        assert event.state.stage == "proving"


async def test_a_page_that_floods_is_cut_off(node: GatewayHost) -> None:
    """What is unread is bounded; other clients are served on."""
    with trio.fail_after(60):
        await send(node, 1, c.Status(1))
        await replies(node, 1)  # the gateway has begun to serve
        node.answer_barrier = False  # requests for lists stay open, and no further one is read
        for number in range(4 * MAX_UNREAD_MESSAGES):
            await send(node, 1, c.ListActors(number))
        await trio.testing.wait_all_tasks_blocked()
        await send(node, 2, c.ListDevices(1))
        await node.next_step("ListDevices")
        assert sum(out.kind == "ListActors" for step in node.steps for out in step) <= MAX_OPEN_REQUESTS
