"""A node comes back into the DHT without its bootstrap peers, through servers that it has met before."""

import os
import signal
from pathlib import Path

import trio

from spacedrive_node.messages.child_protocol import Deliver, Step
from spacedrive_node.messages.to_vault import PeersBehaved, decode
from spacedrive_node.tests.harness.nodes import DEADLINE, InterceptingSpawner, pair, running_node


class ReportWatcher(InterceptingSpawner):
    """Sees which peers the vault was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: set[bytes] = set()
        self._reports = trio.lowlevel.ParkingLot()

    async def intercept(self, actor: str, message: Deliver | Step) -> None:
        if isinstance(message, Deliver) and (actor, message.kind) == ("vault", "PeersBehaved"):
            behaved = decode(message.body)
            assert isinstance(behaved, PeersBehaved)
            self.reported |= {one.peer for one in behaved.reports if one.answered}
            self._reports.unpark_all()

    async def wait_until_reported(self, peer: bytes) -> None:
        with trio.fail_after(DEADLINE):
            while peer not in self.reported:
                await self._reports.park()


async def test_words_are_enough_when_all_bootstrap_peers_are_dead(tmp_path: Path) -> None:
    """Both nodes know one bootstrap peer, which leads them to another server. Then it dies, they are started
    again on other ports, so that they do not remember each other's address, and find each other by words.
    """
    async with running_node(tmp_path, "door") as door:
        bootstrap = (door.bootstrap,)
        async with running_node(tmp_path, "server", bootstrap=bootstrap) as server:
            for name in ("anna", "bruno"):
                watcher = ReportWatcher()
                async with running_node(tmp_path, name, spawner=watcher, bootstrap=bootstrap) as node:
                    code = await node.client.start_pairing()  # a lookup, which meets the server
                    await watcher.wait_until_reported(server.ready.peer)
                    await code.cancel()
            door.stop.set()
            async with (
                running_node(tmp_path, "anna", bootstrap=bootstrap) as a,
                running_node(tmp_path, "bruno", bootstrap=bootstrap) as b,
            ):
                result = await pair(a, b)
                assert result.initiator.fingerprint == result.joiner.fingerprint


async def test_a_vault_and_a_swarm_that_are_killed_keep_what_is_known(tmp_path: Path) -> None:
    """The swarm that comes back is told again, by whichever vault there is then."""
    watcher = ReportWatcher()
    async with (
        running_node(tmp_path, "server") as server,
        running_node(tmp_path, "anna", spawner=watcher, bootstrap=(server.bootstrap,)) as a,
    ):
        await watcher.wait_until_reported(server.ready.peer)
        for victim in ("vault", "swarm"):
            told = watcher.delivered["discovery", "RememberedServers"]
            os.kill((await a.pids())[victim], signal.SIGKILL)
            if victim == "swarm":
                await watcher.wait_until_delivered("discovery", "RememberedServers", told + 1)
