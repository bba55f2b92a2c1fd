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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from spacedrive_node.config.paths import runtime_dir
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.supervisor.restart_policy import Cause
from spacedrive_node.supervisor.spawner import RunningChild
from spacedrive_node.tests.harness import compromised_actor
from spacedrive_node.tests.harness.nodes import DEADLINE, InterceptingSpawner, Node, pair, running_node

ALWAYS = {"random"}
ALLOWED = {
    "vault": {"read-the-identity", "read-the-devices", "write-beside-them"},
    "swarm": {"read-name-servers", "connect", "listen", "send-datagrams", "start-threads"},
    "discovery": {"register"},
    "lan": {"send-datagrams"},
    "gateway": set(),
    "metrics": set(),
    "session": set(),
}


@dataclass
class CompromisedActors:
    """A spawner that runs a compromised actor in place of every actor, in the sandbox of that actor."""

    inner: ProcessSpawner

    @asynccontextmanager
    async def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AsyncIterator[None]:
        async with self.inner.opened(preload=preload, on_lost=on_lost):
            yield

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        assert spec.sandbox is not None
        return await self.inner.spawn(replace(spec, entry=f"{compromised_actor.__name__}:{spec.kind}"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a home with a file in it and listen on a port; return what PATHS is to hold."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "diary").write_text("private")
    for kind in ALLOWED:
        (tmp_path / f"for-{kind}").touch()
    (runtime_dir() / "nodes").mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield ":".join(map(str, (tmp_path, tmp_path / "a", runtime_dir(), tmp_path / "a.sock", port)))


def allowed(node: Node) -> dict[str, set[str]]:
    """Return the operations that each kind of actor has logged as allowed."""
    return {
        actor.partition("-")[0]: set(str(fields["operations"]).split())
        for actor, _level, event, fields in node.logs
        if event == compromised_actor.EVENT
    }


async def test_an_actor_reaches_what_it_works_with_and_nothing_else(tmp_path: Path, paths: str) -> None:
    """Files, programs, processes, network; then the node pairs, and each actor comes back from SIGKILL."""
    host = CompromisedActors(ProcessSpawner(environment={compromised_actor.PATHS: paths}))
    async with (
        running_node(tmp_path, "a", spawner=InterceptingSpawner(inner=host), same_host=True, mdns=True) as a,
        running_node(tmp_path, "b", same_host=True) as b,
    ):
        with trio.fail_after(DEADLINE):
            result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert allowed(a) == {kind: operations | ALWAYS for kind, operations in ALLOWED.items()}
        assert (tmp_path / "diary").read_text() == "private"
        sandboxes = {line[0].partition("-")[0]: line for line in a.logs if line[2] == "sandbox"}
        assert set(sandboxes) == set(ALLOWED)
        assert {result for line in sandboxes.values() for result in line[3].values()} == {"ok"}
        assert {line[1] for line in sandboxes.values()} == {"debug"}
        for kind in set(ALLOWED) - {"session"}:
            before = await a.pids()
            os.kill(before[kind], signal.SIGKILL)
            with trio.fail_after(DEADLINE):
                while (await a.pids()).get(kind, 0) in (0, before[kind]):
                    pass
        with trio.fail_after(DEADLINE):
            result = await pair(a, b)  # not the reverse: to enter a code, a would ask the host's networks
        assert result.initiator.fingerprint == result.joiner.fingerprint


def test_without_a_sandbox_the_burglar_could_do_all_of_it(tmp_path: Path, paths: str) -> None:
    """So the other test shows what the sandbox forbids, not a compromised actor that does not work."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "identity.key").touch()
    (tmp_path / "a" / "devices.db").touch()
    program = (
        f"from {compromised_actor.__name__} import allowed_operations, vault; print(*allowed_operations())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, compromised_actor.PATHS: paths},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    tried = set(compromised_actor._tries(paths.split(":")))
    root_only = set() if os.geteuid() == 0 else {"leave-namespaces"}
    assert tried - set(done.stdout.split()) - root_only == set()
