"""Every actor of a node taken over at once, each in its own sandbox: what it reaches, and no more.

The node does its work all the same: the sandbox takes nothing away that an actor needs.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from spacedrive_node.config.paths import runtime_dir
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.process_spawner import ProcessHost
from spacedrive_node.supervisor.restart_policy import Cause
from spacedrive_node.supervisor.spawner import Handle
from spacedrive_node.tests.harness import compromised_actor as burglar
from spacedrive_node.tests.harness.nodes import DEADLINE, Killer, Node, pair, running_node

ALWAYS = {"random"}
COULD = {
    "vault": {"read-the-identity", "read-the-devices", "write-beside-them"},
    "swarm": {"read-name-servers", "connect", "listen", "send-datagrams", "start-threads"},
    "discovery": {"register"},
    "gateway": set(),
    "metrics": set(),
    "session": set(),
}


@dataclass
class Burglars:
    """A Host that runs a burglar in place of every actor, in the sandbox of that actor."""

    inner: ProcessHost
    told: dict[str, set[str]] = field(default_factory=dict)

    @asynccontextmanager
    async def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AsyncIterator[None]:
        async with self.inner.opened(preload=preload, on_lost=on_lost):
            yield

    async def spawn(self, spec: ChildSpec) -> Handle:
        assert spec.sandbox is not None
        return await self.inner.spawn(replace(spec, entry=f"{burglar.__name__}:{spec.kind}"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
def spots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A home with a file in it, and somebody who listens on the network."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "diary").write_text("private")
    for kind in COULD:
        (tmp_path / f"for-{kind}").touch()
    (runtime_dir() / "nodes").mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield ":".join(map(str, (tmp_path, tmp_path / "a", runtime_dir(), tmp_path / "a.sock", port)))


def told(node: Node) -> dict[str, set[str]]:
    """Return what each kind of actor has said that it could."""
    return {
        actor.partition("-")[0]: set(str(fields["could"]).split())
        for actor, _level, event, fields in node.logs
        if event == burglar.EVENT
    }


async def test_an_actor_reaches_what_it_works_with_and_nothing_else(tmp_path: Path, spots: str) -> None:
    """Files, programs, processes, network; then the node pairs, and each actor comes back from SIGKILL."""
    host = Burglars(ProcessHost(environment={burglar.SPOTS: spots}))
    async with (
        running_node(tmp_path, "a", killer=Killer(inner=host), same_host=True) as a,
        running_node(tmp_path, "b", same_host=True) as b,
    ):
        with trio.fail_after(DEADLINE):
            result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert told(a) == {kind: could | ALWAYS for kind, could in COULD.items()}
        assert (tmp_path / "diary").read_text() == "private"
        sandboxes = {line[0].partition("-")[0]: line for line in a.logs if line[2] == "sandbox"}
        assert set(sandboxes) == set(COULD)
        assert {result for line in sandboxes.values() for result in line[3].values()} == {"ok"}
        assert {line[1] for line in sandboxes.values()} == {"debug"}
        for kind in set(COULD) - {"session"}:
            before = await a.pids()
            os.kill(before[kind], signal.SIGKILL)
            with trio.fail_after(DEADLINE):
                while (await a.pids()).get(kind, 0) in (0, before[kind]):
                    pass
        with trio.fail_after(DEADLINE):
            result = await pair(b, a)
        assert result.initiator.fingerprint == result.joiner.fingerprint


def test_without_a_sandbox_the_burglar_could_do_all_of_it(tmp_path: Path, spots: str) -> None:
    """So what the other test sees is the sandbox's doing, and not a burglar's who cannot work."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "identity.key").touch()
    (tmp_path / "a" / "devices.db").touch()
    program = f"from {burglar.__name__} import attempts, vault; print(*attempts())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, burglar.SPOTS: spots},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    tried = set(burglar._tries(spots.split(":")))
    root_only = set() if os.geteuid() == 0 else {"leave-namespaces"}
    assert tried - set(done.stdout.split()) - root_only == set()
