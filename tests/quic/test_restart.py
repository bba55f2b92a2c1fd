"""A swarm that is killed and comes back is noticed by a stateless reset, long before any time-out."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamReset

from spacedrive_node.actors.swarm.quic import bounded_quic
from spacedrive_node.actors.swarm.quic import connection as connection_module
from spacedrive_node.tests.harness.quic_endpoints import (
    DEADLINE,
    connected,
    peer_of,
    peers,
    until,
)


@contextmanager
def killable(port: int, name: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run an endpoint in a process; gives the process and its port. It is killed at the end."""
    command = [sys.executable, "-m", "spacedrive_node.tests.harness.quic_process", str(port), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("dialler", ["killed", "survivor"])
async def test_the_next_packet_to_a_restarted_peer_ends_the_connection(
    dialler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever side had dialled: it is one packet there and one back, and no time-out."""
    monkeypatch.setattr(connection_module, "KEEP_ALIVE_S", dict.fromkeys((True, False), 10 * DEADLINE))
    monkeypatch.setattr(bounded_quic, "IDLE_TIMEOUT_S", 10 * DEADLINE)
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        mine, (gone, theirs) = (accepted, (a, dialled)) if dialler == "killed" else (dialled, (b, accepted))
        await until(lambda: all(one.core.peer_reset_tokens[:1] for one in (mine, theirs)))
        await until(lambda: mine.core._peer_cid.stateless_reset_token)
        port = gone.address[1]
        gone.endpoint._ids.pop(theirs)  # so that closing says nothing to the other side, as a kill
        gone.endpoint.close()
        with killable(port, gone.name):
            with suppress(MuxedConnUnavailable, MuxedStreamReset):  # a packet of its own came first
                await (await mine.open_stream()).write(b"x")
            with trio.fail_after(DEADLINE):
                await mine.ended.wait()
            assert str(mine.failure) == "the peer was restarted"
            assert not mine.core._streams


async def test_a_reset_needs_the_token() -> None:
    """A stranger's datagram of the same form, from the peer's very address, ends nothing."""
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        await until(lambda: dialled.core.peer_reset_tokens)
        for token in (b"x" * 16, a.identity.tokens.token(b"c" * 8)):
            b.endpoint.send(b"\x40" + bytes(20) + token, a.address)
        stream = await dialled.open_stream()
        await stream.write(b"x")
        assert await (await accepted.accept_stream()).read() == b"x"
        assert not dialled.is_closed


async def test_a_killed_process_and_its_successor() -> None:
    """The real thing: SIGKILL, the same port, the same key."""
    async with peers("a") as (a,):
        with killable(0, "b") as (process, port):
            connection = await a.endpoint.dial(("127.0.0.1", port), peer_of("b"))
            await until(lambda: connection.core.peer_reset_tokens)
            process.kill()
        with killable(port, "b"):
            with suppress(MuxedConnUnavailable, MuxedStreamReset):  # a packet of its own came first
                await (await connection.open_stream()).write(b"x")
            with trio.fail_after(DEADLINE):
                await connection.ended.wait()
            again = await a.endpoint.dial(("127.0.0.1", port), peer_of("b"))
            assert again.is_established


async def test_a_silent_peer_is_asked_and_a_dead_one_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection stays, by packets of its own; one whose peer is gone ends at the idle time-out."""
    monkeypatch.setattr(connection_module, "KEEP_ALIVE_S", {True: 0.05, False: 0.1})
    monkeypatch.setattr(bounded_quic, "IDLE_TIMEOUT_S", 3.0)
    async with peers("a", "b") as (a, b):
        dialled, accepted = await connected(a, b)
        heard = accepted.core._spaces
        await trio.sleep(4.0)  # longer than the idle time-out: there is no event for nothing happening
        assert heard
        assert not dialled.is_closed
        assert not accepted.is_closed
        b.endpoint._ids.pop(accepted)
        b.endpoint.close()
        with trio.fail_after(DEADLINE):
            await dialled.ended.wait()
