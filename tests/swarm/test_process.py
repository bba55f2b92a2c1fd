"""The swarm as a real process: killed with SIGKILL in the middle, it comes back where it was."""

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.child_protocol import Stop
from spacedrive_node.messages.peer_protocol import PairingDecision
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_session import PeerAnswer
from spacedrive_node.messages.to_swarm import Ask, Listening, SwarmIdentity

B = "session-" + "b" * 16
CHILD = """
import socket, sys, trio
from spacedrive_node.actors.swarm import main
from spacedrive_node.messages.child_protocol import decode_to_child
from spacedrive_node.supervisor.channel import Channel

async def run():
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=int(sys.argv[1]))))
    await main(Channel(stream, decode_to_child))

trio.run(run)
"""


@asynccontextmanager
async def process(
    supervisor_class: Any, incarnation: int, standing: tuple[tuple[str, Message], ...]
) -> AsyncIterator[tuple[Any, Any]]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", CHILD, str(theirs.fileno())]
    # A plain Popen: trio's own would make the wait for the child part of the test's nursery.
    with subprocess.Popen(  # noqa: ASYNC220
        command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE
    ) as child:
        theirs.close()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        supervisor = supervisor_class(stream)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervisor.run)
                await supervisor.start(SwarmConfig(listen=("/ip4/127.0.0.1/tcp/0",)), incarnation)
                for sender, message in standing:
                    await supervisor.deliver(sender, message)
                supervisor.up = await supervisor.expect(SwarmUp)
                yield supervisor, child
                nursery.cancel_scope.cancel()
        finally:
            child.kill()
            await stream.aclose()


@pytest.mark.slow
async def test_a_killed_swarm_comes_back_at_the_same_place(swarm: Any) -> None:
    """Same peer id, same port; a peer with a dead connection reaches it again. Stopping it is silent."""
    identity = ("vault", SwarmIdentity(b"k" * 32))
    frame = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
    async with swarm("b") as b:
        async with process(type(b), 1, (identity,)) as (first, child):
            listening = await first.expect(Listening)
            await b.deliver(B, Ask(1, first.peer, first.addresses, frame))
            await b.expect(PeerAnswer)
            child.send_signal(signal.SIGKILL)
            await first.gone.wait()
        async with process(type(b), 2, (identity, ("swarm", listening))) as (second, child):
            assert (second.peer, second.addresses) == (first.peer, first.addresses)
            await b.deliver(B, Ask(2, second.peer, second.addresses, frame))
            assert (await b.expect(PeerAnswer)).request == 2
            await second.channel.send(Stop())
            with trio.fail_after(60):
                await second.gone.wait()
                assert await trio.to_thread.run_sync(child.wait) == 0
            assert child.stderr.read() == b""
