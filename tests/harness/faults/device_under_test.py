"""One device: a node in a separate process that can be killed, stopped, and restarted on its data."""

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
from spacedrive_node.tests.harness.faults.message_tap import Sighting
from spacedrive_node.tests.harness.faults.process_killer import start_time_of
from spacedrive_node.tests.harness.secret_sweep import collector

PROGRAM = "spacedrive_node.tests.harness.faults.node_process"
READY = 60.0
END = 15.0


class NotStartedError(Exception):
    """The node ended before it was ready."""


@dataclass
class _NodeProcess:
    """One process of the node, from its start to its end, and its pipes."""

    popen: "subprocess.Popen[bytes]"
    orders: trio.lowlevel.FdStream
    output: trio.lowlevel.FdStream
    ready: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """The cancel scope of the client, which ends with the node."""


@dataclass
class DeviceUnderTest:
    """A data directory and a host, and the node on them while it runs."""

    name: str
    folder: Path
    host: Host
    nursery: trio.Nursery
    changed: trio.lowlevel.ParkingLot
    """Unparked at each line of output."""
    bootstrap: tuple[str, ...] = ()
    session: dict[str, float] = field(default_factory=dict)
    lifetime: float = 300.0
    client: NodeClient = field(init=False)
    peer: bytes = b""
    sightings: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    held: list[Sighting] = field(default_factory=list)
    ever: set[tuple[int, str]] = field(default_factory=set)
    story: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=400))
    _process: _NodeProcess | None = None

    @property
    def data(self) -> Path:
        return self.folder / self.name

    @property
    def as_bootstrap(self) -> str:
        return f"{self.host.announce}/p2p/{peer_id_text(self.peer)}"

    # Start and output

    async def start(self) -> None:
        """Start the node on the existing data. Return when it is ready to pair."""
        self.sightings.clear()
        process = self._process = self._begin()
        self.nursery.start_soon(self._read, process)
        control = self.folder / f"{self.name}.sock"
        collector.add_folder(self.folder)
        config = {
            "listen": [self.host.listen],
            "announce": [self.host.announce] if self.host.announce != self.host.listen else [],
            "metrics_listen": None,
            "mdns": False,
            "port_mapping": False,
            "same_host": False,
            "control": str(control),
            "data_dir": str(self.data),
            "name": self.name,
            "bootstrap": list(self.bootstrap),
            "code_lifetime": self.lifetime,
        }
        await self.send_order(config=config, session=self.session)
        with trio.fail_after(READY):
            await process.ready.wait()
        if process.over.is_set():
            raise NotStartedError(self.name)
        self.client = await self.nursery.start(_keep_client, control, process)

    def _begin(self) -> _NodeProcess:
        runtime, temporary = str(self.folder / "run"), str(self.folder / "tmp")
        # Popen on this thread, because the node ends with the thread that started it.
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
        return _NodeProcess(process, *streams)

    async def send_order(self, **line: object) -> None:
        assert self._process is not None
        await self._process.orders.send_all(json.dumps(line).encode() + b"\n")

    async def _read(self, process: _NodeProcess) -> None:
        """Read the node's output until its last process is gone, even if cancelled meanwhile."""
        data = b""
        with trio.CancelScope(shield=True):
            async with process.output:
                while piece := await process.output.receive_some(65536):
                    *lines, data = (data + piece).split(b"\n")
                    for line in lines:
                        self._take(process, json.loads(line))
                    self.changed.unpark_all()
        process.over.set()
        process.ready.set()

    def _take(self, process: _NodeProcess, line: dict[str, Any]) -> None:
        if "born" in line:
            pid, start = line["born"]
            if start:
                self.ever.add((pid, start))
            return
        self.record(line)
        if "log" in line:
            collector.add_log_line(self.name, *line["log"])
        if "sighting" in line:
            sighting = Sighting(*line["sighting"])
            self.sightings[sighting[:3]] = sighting.number
            if line["held"]:
                self.held.append(sighting)
        elif "ready" in line:
            self.peer = bytes.fromhex(line["ready"]["peer"])
            self.host.listening(line["ready"]["addresses"][0])
            process.ready.set()

    def record(self, what: object) -> None:
        self.story.append((trio.current_time(), f"{self.name} {what}"))

    async def wait_until_seen(self, actor: str, event: str, name: str) -> None:
        while not self.sightings[actor, event, name]:
            await self.changed.park()

    async def release(self) -> None:
        self.held.clear()
        await self.send_order(release=True)

    # Signals and end

    def tree(self) -> list[int]:
        """Return the node's processes, each before its children."""
        assert self._process is not None
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry))
        found = [self._process.popen.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def stop(self) -> None:
        """Stop all its processes, the supervisor first, so that none sees another one stopped."""
        assert self._process is not None
        _signal([self._process.popen.pid], signal.SIGSTOP)
        _signal(self.tree()[1:], signal.SIGSTOP)

    def resume(self) -> None:
        _signal(self.tree()[::-1], signal.SIGCONT)

    async def kill(self) -> None:
        """Kill all its processes at once, as a power cut does."""
        process = self._process
        if process is None:
            return
        self.stop()
        _signal(self.tree(), signal.SIGKILL)
        await self._close(process)

    async def end(self) -> int:
        """Stop the node in order. Return its exit status."""
        assert self._process is not None
        return await self._close(self._process)

    async def _close(self, process: _NodeProcess) -> int:
        """Wait for the end of a process that was killed, or that ends because its input is closed."""
        process.scope.cancel()
        await process.orders.aclose()
        with trio.fail_after(END):
            await process.over.wait()
            status = await trio.to_thread.run_sync(process.popen.wait)
        self._process = None
        self.held.clear()
        return status

    # Leftovers

    def left(self) -> list[int]:
        """Return the processes that it has ever had and that still run."""
        return [pid for pid, start in self.ever if start_time_of(pid) == start]


async def _keep_client(
    control: Path,
    process: _NodeProcess,
    task_status: "trio.TaskStatus[NodeClient]" = trio.TASK_STATUS_IGNORED,
) -> None:
    with process.scope:
        async with open_client(control) as client:
            task_status.started(client)
            await trio.sleep_forever()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
