"""Nothing that has ended is called ready: `status` and /readyz, sampled while actors die and come back."""

import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import trio

from spacedrive_node.tests.harness.node_commands import sdnode_up
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, pair, running_node

PART_OF = {"swarm": "swarm", "vault": "vault", "discovery": "dht"}


async def _readyz(node: Node) -> tuple[int, str]:
    return await _get(node, "/readyz")


async def _get(node: Node, path: str) -> tuple[int, str]:
    assert node.ready.metrics is not None
    host, _, port = node.ready.metrics.rpartition(":")
    text = b""
    with suppress(OSError, trio.BrokenResourceError):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            async for piece in stream:
                text += piece
    return (int(text.split()[1]), text.decode()) if text else (0, "")


async def _running(node: Node) -> dict[str, int]:
    return {row.actor: row.pid for row in await node.client.actors() if row.state == "running"}


async def _wait_until(node: Node, holds: Callable[[bool, int], bool], seconds: float) -> None:
    """Sample both until `holds` says that they are as expected."""
    with trio.fail_after(seconds):
        while not holds((await node.client.status()).ready, (await _readyz(node))[0]):
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("actor", PART_OF)
async def test_no_part_is_ready_while_its_actor_is_dead(tmp_path: Path, actor: str) -> None:
    """From its death on, for as long as it takes; ready again only with another process.

    Its next process is held back, so there is time to look however fast it would be.
    """
    async with running_node(tmp_path, "anna", metrics_listen="127.0.0.1:0") as node:
        await _wait_until(node, lambda ready, code: ready and code == 200, DEADLINE)
        dead = (await _running(node))[actor]
        held = True
        original = node.spawner.spawn

        async def spawn(spec):  # type: ignore[no-untyped-def]
            while held and spec.kind == actor:
                await trio.lowlevel.checkpoint()
            return await original(spec)

        node.spawner.spawn = spawn  # type: ignore[method-assign]
        os.kill(dead, signal.SIGKILL)
        await _wait_until(node, lambda ready, code: not ready and code == 503, DEADLINE)
        for _ in range(20):
            status, (code, text) = await node.client.status(), await _readyz(node)
            assert actor not in await _running(node)
            assert (status.ready, code) == (False, 503)
            assert PART_OF[actor] in status.missing
            assert f"{PART_OF[actor]}: not ready" in text
        held = False
        await _wait_until(node, lambda ready, code: ready and code == 200, DEADLINE)
        assert (await _running(node))[actor] != dead


@pytest.mark.parametrize("actor", ["gateway", "lan", *PART_OF])
async def test_an_actor_that_hangs_is_named(tmp_path: Path, actor: str) -> None:
    """Before it is killed for that, whichever it is; then it is ready again, with another process."""
    async with running_node(tmp_path, "anna", metrics_listen="127.0.0.1:0", mdns=True) as node:
        await _wait_until(node, lambda ready, code: ready and code == 200, DEADLINE)
        name = PART_OF.get(actor, actor)
        hanging = (await _running(node))[actor]
        os.kill(hanging, signal.SIGSTOP)
        with trio.fail_after(DEADLINE):
            while f"{name}: not ready (does not answer)" not in (page := await _readyz(node))[1]:
                assert page[0] in (0, 200)
                await trio.lowlevel.checkpoint()
        assert page[0] == 503
        if actor != "gateway":  # which would answer
            status = await node.client.status()
            assert (status.ready, status.missing) == (False, (name,))
        await _wait_until(node, lambda ready, code: ready and code == 200, DEADLINE)
        assert (await _running(node))[actor] != hanging


async def test_every_actor_that_is_away_is_named(tmp_path: Path) -> None:
    """Those that report nothing of themselves too."""
    away = ("gateway", "lan")
    async with running_node(tmp_path, "anna", metrics_listen="127.0.0.1:0", mdns=True) as node:
        await _wait_until(node, lambda ready, code: ready and code == 200, DEADLINE)
        running, held = await _running(node), True
        original = node.spawner.spawn

        async def spawn(spec):  # type: ignore[no-untyped-def]
            while held and spec.kind in away:
                await trio.lowlevel.checkpoint()
            return await original(spec)

        node.spawner.spawn = spawn  # type: ignore[method-assign]
        for actor in away:
            os.kill(running[actor], signal.SIGKILL)
        lines = [f"{actor}: not ready (not running)" for actor in away]
        with trio.fail_after(DEADLINE):
            code, text = await _readyz(node)
            while not all(line in text for line in lines):
                code, text = await _readyz(node)
        assert code == 503
        held = False
        await _wait_until(node, lambda ready, code: ready and code == 200, DEADLINE)


def test_a_node_whose_supervisor_stands_still_is_not_ready() -> None:
    """Not for who asks /readyz, not for who runs `sdnode status`, and not for an alert."""
    with (
        tempfile.TemporaryDirectory(prefix="sdnode-") as folder,  # short: a socket lies in it
        sdnode_up(Path(folder), "anna") as node,
    ):

        def ready_metric() -> str:
            with urlopen(f"http://{node.ready['metrics']}/metrics", timeout=DEADLINE) as page:
                (line,) = [one for one in page.read().decode().splitlines() if " " in one
                           and one.startswith("spacedrive_node_ready ")]  # fmt: skip
            return line.split()[1]

        (status,) = node.run("status")
        assert (status["ready"], ready_metric()) == (True, "1.0")
        node.process.send_signal(signal.SIGSTOP)
        try:
            (status,) = node.run("status", code=8)
            assert (status["ready"], status["missing"]) == (False, ["supervisor"])
            assert ready_metric() == "0.0"
            with pytest.raises(HTTPError, match="503"):
                urlopen(f"http://{node.ready['metrics']}/readyz", timeout=DEADLINE)
        finally:
            node.process.send_signal(signal.SIGCONT)
        (status,) = node.run("status")
        assert (status["ready"], ready_metric()) == (True, "1.0")


async def test_the_metrics_of_a_node_that_has_just_started(tmp_path: Path) -> None:
    """What every node reports of itself, before anything has happened to it."""
    async with running_node(tmp_path, "anna", metrics_listen="127.0.0.1:0", max_sessions=7) as node:
        wanted = {
            "spacedrive_node_ready 1.0",
            "spacedrive_node_sessions_limit 7.0",
            'spacedrive_node_actor_restarts_total{actor="swarm",reason="killed"} 0.0',
            'spacedrive_node_pairing_sessions_total{outcome="crashed",role="joiner"} 0.0',
        }
        swarm, values = 'spacedrive_node_actor_cpu_seconds_total{actor="swarm"}', {"": ""}
        with trio.fail_after(DEADLINE):
            # Processor times are read every 10 s, at first perhaps before the swarm has used any.
            while not (wanted <= {f"{name} {value}" for name, value in values.items()}
                       and float(values[swarm]) > 0):  # fmt: skip
                lines = (await _get(node, "/metrics"))[1].splitlines()
                values = dict(
                    line.rsplit(" ", 1) for line in lines if not line.startswith("#") and " " in line
                )
        for name in (
            "resident_memory_bytes",
            "open_fds",
            "max_fds",
            "start_time_seconds",
            "cpu_seconds_total",
        ):
            assert float(values[f"process_{name}"]) > 0


async def test_the_number_of_devices_is_counted_across_restarts(tmp_path: Path) -> None:
    """Of the vault, of metrics and of the node: what is stored is what /metrics says."""

    async def shown(node: Node, paired: int) -> None:
        line = f'spacedrive_node_devices{{state="paired"}} {paired}.0'
        with trio.fail_after(DEADLINE):
            while line not in (await _get(node, "/metrics"))[1].splitlines():
                await trio.lowlevel.checkpoint()

    metrics = {"metrics_listen": "127.0.0.1:0"}
    async with (
        running_node(tmp_path, "anna", **metrics) as a,
        running_node(tmp_path, "bruno", bootstrap=(a.bootstrap,)) as b,
    ):
        await shown(a, 0)
        await pair(a, b)
        await shown(a, 1)
        for actor in ("metrics", "vault"):
            dead = (await a.pids())[actor]
            os.kill(dead, signal.SIGKILL)
            with trio.fail_after(DEADLINE):
                while (await _running(a)).get(actor, dead) == dead:
                    await trio.lowlevel.checkpoint()
            await _wait_until(a, lambda ready, code: ready and code == 200, DEADLINE)
            await shown(a, 1)
    async with running_node(tmp_path, "anna", **metrics) as a:
        await shown(a, 1)
        (device,) = await a.client.devices()
        await a.client.forget(device.device_id)
        await shown(a, 0)
