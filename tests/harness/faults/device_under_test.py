"""One device: a node in a process of its own that can be killed, stopped, and started again on its data."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from spacedrive_node.client.node_client import NodeClient, open_client
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.faults.cable_network import Host
from spacedrive_node.tests.harness.faults.message_tap import Sight
from spacedrive_node.tests.harness.faults.process_killer import start_of
from spacedrive_node.tests.harness.secret_sweep import collector

PROGRAM = "spacedrive_node.tests.harness.faults.node_process"
READY = 60.0
END = 15.0


class NotStartedError(Exception):
    """The node ended before it was ready."""


@dataclass
class _Life:
    """One process of the node, from its start to its end."""

    process: "subprocess.Popen[bytes]"
    orders: trio.lowlevel.FdStream
    news: trio.lowlevel.FdStream
    ready: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Of the client: it lives no longer than the node."""


@dataclass
class Seat:
    """A data directory and a host, and the node of it as long as that runs."""

    name: str
    folder: Path
    host: Host
    nursery: trio.Nursery
    changed: trio.lowlevel.ParkingLot
    """Woken at each line of the node."""
    bootstrap: tuple[str, ...] = ()
    session: dict[str, float] = field(default_factory=dict)
    lifetime: float = 300.0
    client: NodeClient = field(init=False)
    peer: bytes = b""
    sights: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    held: list[Sight] = field(default_factory=list)
    ever: set[tuple[int, str]] = field(default_factory=set)
    story: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=400))
    _life: _Life | None = None

    @property
    def data(self) -> Path:
        return self.folder / self.name

    @property
    def as_bootstrap(self) -> str:
        return f"{self.host.announce}/p2p/{peer_id_text(self.peer)}"

    # its life

    async def start(self) -> None:
        """Start the node, on the data that there is, and return when it takes pairings."""
        self.sights.clear()
        life = self._life = self._begin()
        self.nursery.start_soon(self._read, life)
        control = self.folder / f"{self.name}.sock"
        collector.add_folder(self.folder)
        config = {
            "listen": [self.host.listen],
            "announce": [self.host.announce] if self.host.announce != self.host.listen else [],
            "metrics_listen": None,
            "mdns": False,
            "same_host": False,
            "control": str(control),
            "data_dir": str(self.data),
            "name": self.name,
            "bootstrap": list(self.bootstrap),
            "code_lifetime": self.lifetime,
        }
        await self.order(config=config, session=self.session)
        with trio.fail_after(READY):
            await life.ready.wait()
        if life.over.is_set():
            raise NotStartedError(self.name)
        self.client = await self.nursery.start(_keep_client, control, life)

    def _begin(self) -> _Life:
        runtime, temporary = str(self.folder / "run"), str(self.folder / "tmp")
        # Popen on this thread: the node ends with the thread that started it.
        process = subprocess.Popen(
            [*self.host.command, sys.executable, "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "XDG_RUNTIME_DIR": runtime, "TMPDIR": temporary},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        streams = [trio.lowlevel.FdStream(os.dup(pipe.fileno())) for pipe in (process.stdin, process.stdout)]
        process.stdin.close()
        process.stdout.close()
        return _Life(process, *streams)

    async def order(self, **line: object) -> None:
        assert self._life is not None
        await self._life.orders.send_all(json.dumps(line).encode() + b"\n")

    async def _read(self, life: _Life) -> None:
        """Take the node's lines until its last process is gone, whatever is cancelled meanwhile."""
        data = b""
        with trio.CancelScope(shield=True):
            async with life.news:
                while piece := await life.news.receive_some(65536):
                    *lines, data = (data + piece).split(b"\n")
                    for line in lines:
                        self._take(life, json.loads(line))
                    self.changed.unpark_all()
        life.over.set()
        life.ready.set()

    def _take(self, life: _Life, line: dict[str, Any]) -> None:
        if "born" in line:
            pid, start = line["born"]
            if start:
                self.ever.add((pid, start))
            return
        self.note(line)
        if "log" in line:
            collector.add_log_line(self.name, *line["log"])
        if "sight" in line:
            sight = Sight(*line["sight"])
            self.sights[sight[:3]] = sight.number
            if line["held"]:
                self.held.append(sight)
        elif "ready" in line:
            self.peer = bytes.fromhex(line["ready"]["peer"])
            self.host.listening(line["ready"]["addresses"][0])
            life.ready.set()

    def note(self, what: object) -> None:
        self.story.append((trio.current_time(), f"{self.name} {what}"))

    async def until_seen(self, actor: str, event: str, name: str) -> None:
        while not self.sights[actor, event, name]:
            await self.changed.park()

    async def release(self) -> None:
        self.held.clear()
        await self.order(release=True)

    # what may happen to it

    def tree(self) -> list[int]:
        """Return the node's processes, each before those that it has made."""
        assert self._life is not None
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry))
        found = [self._life.process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def stop(self) -> None:
        """Stop every process of it where it stands, the supervisor first: nobody sees another one stand."""
        assert self._life is not None
        _signal([self._life.process.pid], signal.SIGSTOP)
        _signal(self.tree()[1:], signal.SIGSTOP)

    def resume(self) -> None:
        _signal(self.tree()[::-1], signal.SIGCONT)

    async def kill(self) -> None:
        """End all of it at once, as a power cut would."""
        life = self._life
        if life is None:
            return
        self.stop()
        _signal(self.tree(), signal.SIGKILL)
        await self._close(life)

    async def end(self) -> int:
        """Stop the node in good order; return its exit status."""
        assert self._life is not None
        return await self._close(self._life)

    async def _close(self, life: _Life) -> int:
        """See a life end that was killed, or that ends when nobody gives orders any more."""
        life.scope.cancel()
        await life.orders.aclose()
        with trio.fail_after(END):
            await life.over.wait()
            status = await trio.to_thread.run_sync(life.process.wait)
        self._life = None
        self.held.clear()
        return status

    # what is left of it

    def left(self) -> list[int]:
        """Return the processes of it, of any life, that are still there."""
        return [pid for pid, start in self.ever if start_of(pid) == start]


async def _keep_client(
    control: Path, life: _Life, task_status: "trio.TaskStatus[NodeClient]" = trio.TASK_STATUS_IGNORED
) -> None:
    with life.scope:
        async with open_client(control) as client:
            task_status.started(client)
            await trio.sleep_forever()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
