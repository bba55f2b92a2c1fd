"""A real node inside a program that survives it: killed in the middle of a pairing."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
import trio

from spacedrive_node import NodeConfig, NodeEndedError, PairingFailedError, open_node
from spacedrive_node.tests.harness.node_commands import DEADLINE


async def test_a_killed_node_is_reported_to_its_host_and_to_each_of_its_tasks() -> None:
    """By signal and last words, and within a second; a pairing that waits ends, a later call fails."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name, trio.fail_after(DEADLINE):
        folder = Path(name)
        config = NodeConfig(
            data_dir=str(folder / "anna"),
            control=str(folder / "control"),
            listen=("/ip4/127.0.0.1/tcp/0",),
            metrics_listen=None,
            mdns=False,
            log_level="debug",
        )
        lines: list[str] = []
        told: list[Exception] = []
        async with open_node(config, on_log=lines.append) as node:
            session = await node.start_pairing()

            async def wait_for_the_other_device() -> None:
                try:
                    await session.paired()
                except (NodeEndedError, PairingFailedError) as error:
                    told.append(error)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_the_other_device)
                (supervisor,) = [row.pid for row in await node.actors() if row.actor == "supervisor"]
                os.kill(supervisor, signal.SIGKILL)
                with trio.fail_after(1):
                    end = await node.wait_ended()
                    with pytest.raises(NodeEndedError, match="signal 9"):
                        await node.status()
            assert len(told) == 1
        assert end.exit_code == -signal.SIGKILL
        assert end.last_lines
        assert list(end.last_lines) == lines[-len(end.last_lines) :]
