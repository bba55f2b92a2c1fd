"""SIGKILL at every step: the pairing completes, once, on both sides, and nobody else notices."""

import itertools
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.nodes import DEADLINE, Node, PairingResult, pair, running_node, two_nodes

LEAST = {"session": 6, "vault": 4}
"""How many inputs the actor has in every pairing: the vault signs, checks the peer, accepts and stores."""


async def _once(a: Node, b: Node, result: PairingResult) -> None:
    """Both sides hold exactly the other device, paired, with the secret of this pairing."""
    assert result.initiator.fingerprint == result.joiner.fingerprint
    for node in (a, b):
        devices = await node.client.devices()
        assert [(d.state, d.fingerprint) for d in devices] == [("paired", result.joiner.fingerprint)]


@pytest.mark.parametrize("event", ["input", "step"])
@pytest.mark.parametrize("kind", ["session", "vault"])
@pytest.mark.timeout(300)
async def test_a_kill_at_every_single_step(tmp_path: Path, kind: str, event: str) -> None:
    """Each input of the session and of the vault, on either side: killed with the input just written, or
    with the step done and lost on the way. The first in one pairing, the second in the next, and so on, until
    a pairing is over before it had so many: timing decides how many messages come singly and how many after
    the end, so that one pairing says nothing of the next.
    """
    async with two_nodes(tmp_path) as (a, b):
        for node in (a, b):
            for number in itertools.count(1):
                node.spawner.reset(lambda k, e, n, at=number: (k, e, n) == (kind, event, at))
                result = await pair(a, b)
                await _once(a, b, result)
                if not node.spawner.kills:
                    break
            assert number > LEAST[kind]
            node.spawner.reset()


@pytest.mark.parametrize("actor", ["swarm", "discovery", "gateway", "metrics", "zygote"])
@pytest.mark.parametrize("moment", [1, 3, 5, 7])
async def test_any_other_actor_is_killed_during_a_pairing(tmp_path: Path, actor: str, moment: int) -> None:
    """On either side, when the session has taken so many inputs: the pairing completes, the node goes on."""
    async with two_nodes(tmp_path) as (a, b):
        for victim in (a, b):
            pid = (await victim.pids())[actor]

            def kill(kind: str, event: str, number: int, pid: int = pid) -> bool:
                if (kind, event, number) == ("session", "input", moment):
                    os.kill(pid, signal.SIGKILL)
                return False

            victim.spawner.reset(kill)
            await _once(a, b, await pair(a, b))
            victim.spawner.reset()
            assert (await victim.pids())[actor] != pid
        await _once(a, b, await pair(b, a))


async def test_the_loss_of_the_fork_server_is_counted(tmp_path: Path) -> None:
    """In `actors` and in the metrics, as a restart of its own beside those of the actors that went too."""
    async with running_node(tmp_path, "anna", metrics_listen="127.0.0.1:0") as a:
        before = {row.actor: row for row in await a.client.actors()}
        os.kill(before["zygote"].pid, signal.SIGKILL)
        with trio.fail_after(DEADLINE):
            while 'restarts_total{actor="zygote",reason="killed"} 1.0' not in (text := await scrape(a)):
                await trio.lowlevel.checkpoint()
            while not {'up{actor="zygote"} 1.0', 'up{actor="vault"} 1.0'} <= up(text):
                text = await scrape(a)
        assert 'up{actor="supervisor"} 1.0' in up(text)
        assert 'restarts_total{actor="supervisor"' not in text
        after = {row.actor: row for row in await a.client.actors()}
        assert (before["zygote"].restarts, after["zygote"].restarts) == (0, 1)
        assert after["zygote"].uptime_seconds < after["supervisor"].uptime_seconds


def up(text: str) -> set[str]:
    prefix = "spacedrive_node_actor_"
    return {line.removeprefix(prefix) for line in text.splitlines() if line.startswith(prefix + "up{")}


async def scrape(node: Node) -> str:
    """Return /metrics; nothing while metrics is away."""
    assert node.ready.metrics is not None
    host, _, port = node.ready.metrics.rpartition(":")
    request = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    text = b""
    with suppress(OSError, trio.BrokenResourceError):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(request.encode())
            async for piece in stream:
                text += piece
    return text.decode()


async def test_a_stopped_session_delays_no_other(tmp_path: Path) -> None:
    """One session process stands still (SIGSTOP); another pairing of the same nodes runs to its end."""
    async with two_nodes(tmp_path) as (a, b):
        showing = await a.client.start_pairing()
        pid = next(pid for actor, pid in (await a.pids()).items() if actor.startswith("session"))
        os.kill(pid, signal.SIGSTOP)
        try:
            await _once(a, b, await pair(a, b))
        finally:
            os.kill(pid, signal.SIGCONT)
        with trio.fail_after(DEADLINE):
            await showing.cancel()


async def test_the_only_server_comes_back_and_is_told_again(tmp_path: Path) -> None:
    """The joiner's own swarm is the initiator's only DHT server, and dies after the code was announced.

    It has forgotten the announcement, and nobody but the initiator can make contact again.
    """
    async with two_nodes(tmp_path) as (a, b):
        # b knows a alone, as its bootstrap server, and is content with it: it will look again in a minute.
        await b.spawner.wait_until_delivered("discovery", "Servers", 2)
        # It asks a for servers and then tells it of the code.
        answers = b.spawner.delivered["discovery", "KadReply"]
        showing = await b.client.start_pairing()
        await b.spawner.wait_until_delivered("discovery", "KadReply", answers + 2)
        pid = (await a.pids())["swarm"]
        os.kill(pid, signal.SIGKILL)
        with trio.fail_after(DEADLINE):
            joining = await a.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE / 2)
            await joining.confirmation()
            await joining.cancel()
            await showing.confirmation()
        assert (await a.pids())["swarm"] != pid
