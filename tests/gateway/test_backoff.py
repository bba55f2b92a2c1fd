"""A client that is refused, or told rubbish, again and again does not keep a node busy with its attempts."""

import socket
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from spacedrive_node.client import errors
from spacedrive_node.client.node_client import ControlError, NodeClient, NodeGoneError, open_client
from spacedrive_node.messages.base import CONTROL_LIMIT, Message, encode, frame
from spacedrive_node.messages.control_protocol import Error, SessionStarted

PAUSES_S = [0.02, 0.04, 0.08, 0.16, 0.32]
"""Within the first second."""
MAX_ATTEMPTS = 100
"""In half a minute."""
REFUSAL = Error(0, "busy", "the node serves 128 clients at once; try again later")


def framed(*messages: Message) -> bytes:
    return b"".join(frame(encode(message), CONTROL_LIMIT) for message in messages)


async def serve(
    control: Path, answer: bytes, times: list[float], use: Callable[[NodeClient], Awaitable[None]]
) -> None:
    """Answer each connection so, and end it, while a client is used; note when they were made."""
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(control))  # trio's would take a thread, during which the clock would jump
    bound.listen()
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))

    async def refuse_all() -> None:
        while True:
            async with await listener.accept() as stream:
                times.append(trio.current_time())
                assert len(times) < MAX_ATTEMPTS
                await stream.send_all(answer)

    async with listener, trio.open_nursery() as nursery, open_client(control) as client:
        nursery.start_soon(refuse_all)
        await use(client)
        nursery.cancel_scope.cancel()


async def ask_in_vain(client: NodeClient) -> None:
    with pytest.raises((NodeGoneError, ControlError)):
        await client.status()


@pytest.mark.parametrize(
    "answer",
    [
        framed(REFUSAL),
        framed(SessionStarted(5, "0" * 16)) + frame(b"\xc1", CONTROL_LIMIT),
    ],
    ids=["refused", "after a breach"],
)
async def test_the_pauses_grow(short_folder, autojump_clock, answer):
    """An answer that is useless, or that a breach of the format follows, is no reason to try at once."""
    times: list[float] = []
    with trio.move_on_after(1):
        await serve(short_folder / "c.sock", answer, times, ask_in_vain)
    assert len(times) == 1 + len(PAUSES_S)
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx(PAUSES_S)


async def test_what_waits_while_all_are_refused_fails_in_time(short_folder, autojump_clock):
    """As without a node, but with what it says. Who watches is told that the connection is lost, no more."""
    changes: list[bool] = []

    async def use(client: NodeClient) -> None:
        client.watch_connection(changes.append)
        with pytest.raises(ControlError, match="128 clients") as refused:
            await client.status()
        assert refused.value.code == "busy"

    begin = trio.current_time()
    await serve(short_folder / "c.sock", framed(REFUSAL), [], use)
    assert errors.RECONNECT_TIMEOUT_S <= trio.current_time() - begin <= errors.RECONNECT_TIMEOUT_S + 1
    assert changes == [False]
