"""Whole nodes in one process: real forked actors, real libp2p, real SQLite. Only the supervisors are here.

`InterceptingSpawner` wraps the spawner of a supervisor. It sees every frame between the supervisor and its
children, and can kill a child at a chosen frame: after its input was written, or before its step is read.
The product knows nothing of it.
"""

import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from msgspec import structs

from spacedrive_node.client.node_client import NodeClient, Pairing, open_client
from spacedrive_node.client.one_shot import call
from spacedrive_node.config.loading import LoadedConfig
from spacedrive_node.config.settings import NodeConfig
from spacedrive_node.messages.base import FrameReader, encode, frame
from spacedrive_node.messages.child_protocol import Deliver, FromChild, Start, Step, decode_to_child
from spacedrive_node.messages.control_protocol import Reload, Reloaded, SessionState
from spacedrive_node.messages.to_gateway import ReloadReport
from spacedrive_node.node import Ready, serve
from spacedrive_node.node_reload import SettingsSource
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.supervisor.restart_policy import Cause
from spacedrive_node.supervisor.spawner import RunningChild, Spare, Spawner
from spacedrive_node.tests.harness.raw_http import PageClient
from spacedrive_node.tests.harness.secret_sweep import collector
from spacedrive_node.tests.harness.transports import listen_addresses

LIMIT = 1 << 20
DEADLINE = 60.0
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_UNPRIVILEGED = 10_240
_TRIED_PORTS = 100
KillRule = Callable[[str, str, int], bool]
"""Called with (kind of actor, "input" or "step", its number for that kind). Returns whether to kill."""


def never_kill(_kind: str, _event: str, _number: int) -> bool:
    return False


@dataclass
class InterceptingSpawner:
    """A spawner that observes and kills its children. Counts inputs and steps by kind since `reset`."""

    inner: Spawner = field(default_factory=ProcessSpawner)
    kill_rule: KillRule = never_kill
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    kills: int = 0
    pids: dict[str, set[int]] = field(default_factory=dict)
    delivered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages delivered so far, by (kind of actor, kind of message)."""
    preloaded: Sequence[str] = ()
    """Modules that the node had its fork server import."""
    _delivery: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def record_delivery(self, kind: str, message: Deliver) -> None:
        self.delivered[kind, message.kind] += 1
        self._delivery.unpark_all()

    def starting(self, kind: str, start: Start) -> Start:
        """Called with the first frame to each actor; what it returns is sent instead."""
        return start

    async def intercept(self, actor: str, message: Deliver | Step) -> None:
        """Called with each input before it is written to an actor, and with each step before it is read.

        The frame, and all later frames of that actor, wait until this returns.
        """

    async def wait_until_delivered(
        self, kind: str, message: str, number: int, *, seconds: float = DEADLINE
    ) -> None:
        """Wait until `number` messages of one kind were delivered to one kind of actor."""
        with trio.fail_after(seconds):
            while self.delivered[kind, message] < number:
                await self._delivery.park()

    def reset(self, kill_rule: KillRule = never_kill) -> None:
        self.kill_rule = kill_rule
        self.counts.clear()
        self.kills = 0

    def should_kill(self, kind: str, event: str) -> bool:
        self.counts[kind, event] += 1
        if self.kill_rule(kind, event, self.counts[kind, event]):
            self.kills += 1
            return True
        return False

    def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AbstractAsyncContextManager[None]:
        self.preloaded = preload
        return self.inner.opened(preload=preload, on_lost=on_lost)

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        handle = await self.inner.spawn(spec)
        self.pids.setdefault(spec.kind, set()).add(handle.pid)
        return _InterceptedHandle(handle, spec.kind, self)

    @property
    def pid(self) -> int:
        return self.inner.pid

    @property
    def spares(self) -> Mapping[str, Spare]:
        return self.inner.spares

    @property
    def uptime(self) -> float:
        return self.inner.uptime

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Called with each log line of the node."""


class _InterceptedHandle:
    def __init__(self, inner: RunningChild, kind: str, spawner: InterceptingSpawner) -> None:
        self.inner, self.kind, self.spawner = inner, kind, spawner
        self.name = kind
        self.channel = _InterceptedChannel(self)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class _InterceptedChannel:
    """Passes every frame on, in both directions, and reports it to the spawner."""

    def __init__(self, handle: _InterceptedHandle) -> None:
        self._handle = handle
        self._reader = FrameReader(LIMIT)

    async def send_bytes(self, data: bytes) -> None:
        self._reader.feed(data)
        while (payload := self._reader.next_frame()) is not None:
            message = decode_to_child(payload)
            if isinstance(message, Start):
                self._handle.name = message.name
                payload = encode(self._handle.spawner.starting(self._handle.kind, message))
            elif isinstance(message, Deliver):
                await self._handle.spawner.intercept(self._handle.name, message)
            await self._handle.inner.channel.send_bytes(frame(payload, LIMIT))
            if not isinstance(message, Deliver):
                continue
            self._handle.spawner.record_delivery(self._handle.kind, message)
            if self._handle.spawner.should_kill(self._handle.kind, "input"):
                self._handle.inner.kill()

    async def send(self, message: object) -> None:
        await self.send_bytes(frame(encode(message), LIMIT))

    def send_nowait(self, _data: bytes) -> int:
        return 0  # it may have to wait: send_bytes

    def receive_nowait(self) -> None:
        return None

    async def receive(self) -> FromChild:
        message = await self._handle.inner.channel.receive()
        if isinstance(message, Step) and message.checkpoint is not None and self._handle.kind == "session":
            collector.add_checkpoint(message.checkpoint)
        if isinstance(message, Step):
            await self._handle.spawner.intercept(self._handle.name, message)
        if isinstance(message, Step) and self._handle.spawner.should_kill(self._handle.kind, "step"):
            self._handle.inner.kill()  # the step is lost
            while True:
                await self._handle.inner.channel.receive()
        return message

    async def aclose(self) -> None:
        await self._handle.inner.channel.aclose()


@dataclass
class Node:
    """One running node and a client of it."""

    ready: Ready
    client: NodeClient
    spawner: InterceptingSpawner
    stop: trio.Event
    logs: list[tuple[str, str, str, dict[str, object]]]
    settings: list[NodeConfig]
    """The last of them is what the node finds when it reads its settings again."""

    async def reload(self, *, check: bool = False, **changes: object) -> ReloadReport:
        """Have the node read its settings again, with these changed, as `sdnode reload` does."""
        self.settings.append(structs.replace(self.settings[-1], **changes))
        return await reload_node(Path(self.ready.control), check=check)

    @property
    def bootstrap(self) -> str:
        return f"{self.ready.addresses[0]}/p2p/{peer_id_text(self.ready.peer)}"

    @property
    def page(self) -> PageClient:
        """A client of the page, if the node has one."""
        assert self.ready.page is not None
        assert self.ready.page_token is not None
        return PageClient(int(self.ready.page.rstrip("/").rpartition(":")[2]), self.ready.page_token)

    async def pids(self) -> dict[str, int]:
        return {row.actor: row.pid for row in await self.client.actors()}


async def reload_node(control: Path, *, check: bool = False) -> ReloadReport:
    """Have a node read its settings again; return what has come of it."""
    key = os.urandom(16)
    while True:
        reply = await trio.to_thread.run_sync(call, control, Reloaded, lambda id: Reload(id, key, check))
        if reply.report.state != "running":
            return reply.report


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for TCP and UDP, from outside the kernel's ephemeral range.

    No other program gets it by asking for any port, so a swarm that was killed can listen on it again, and
    the other devices, which know only this port, find the node again.
    """
    ephemeral = int(_EPHEMERAL.read_text().split()[0])
    below = range(min(_UNPRIVILEGED, ephemeral - _TRIED_PORTS), ephemeral)
    for port in random.SystemRandom().sample(below, _TRIED_PORTS):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                for there in (tcp, udp):
                    there.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"of {_TRIED_PORTS} ports below {ephemeral} none is free")


@asynccontextmanager
async def running_node(
    folder: Path, name: str, *, spawner: InterceptingSpawner | None = None, **settings: object
) -> AsyncIterator[Node]:
    """Run a node on loopback with its files in `folder`. At the end stop it; it must end cleanly.

    What `Node.reload` has changed of its settings is what it finds when it reads them again.
    """
    spawner = spawner or InterceptingSpawner()
    stop, is_ready, ready = trio.Event(), trio.Event(), []
    logs: list[tuple[str, str, str, dict[str, object]]] = []
    options: dict[str, object] = {
        "listen": listen_addresses(free_port()),
        "metrics_listen": None,
        "mdns": False,
        "port_mapping": False,
        "same_host": False,
        "control": str(folder / f"{name}.sock"),
        "data_dir": str(folder / name),
        "name": name,
        **settings,
    }
    config = NodeConfig(**options)  # type: ignore[arg-type]
    changed = [config]
    collector.add_folder(folder)

    def log(actor: str, level: str, event: str, fields: dict[str, object]) -> None:
        logs.append((actor, level, event, dict(fields)))
        collector.add_log_line(name, actor, level, event, fields)
        spawner.on_log(actor, level, event, fields)

    def on_ready(line: Ready) -> None:
        ready.append(line)
        if line.page_token is not None:
            collector.add_secret("token of the page", line.page_token.encode())
        is_ready.set()

    async with trio.open_nursery() as nursery:
        finished = trio.Event()

        async def run() -> None:
            source = SettingsSource(lambda: LoadedConfig(changed[-1], {}), lambda *_: None)
            await serve(config, spawner=spawner, stop=stop, ready=on_ready, log=log, settings=source)
            finished.set()

        nursery.start_soon(run)
        with trio.fail_after(DEADLINE):
            await is_ready.wait()
        async with open_client(Path(ready[0].control)) as client:
            yield Node(ready[0], client, spawner, stop, logs, changed)
        stop.set()
        with trio.fail_after(DEADLINE):
            await finished.wait()


@asynccontextmanager
async def two_nodes(folder: Path, **settings: object) -> AsyncIterator[tuple[Node, Node]]:
    """Run two nodes; the second knows the first as DHT server, so a real lookup finds the code."""
    async with (
        running_node(folder, "anna", **settings) as a,
        running_node(folder, "bruno", bootstrap=(a.bootstrap,), **settings) as b,
    ):
        yield a, b


@dataclass
class PairingResult:
    """How one pairing ended on both sides."""

    initiator: SessionState
    joiner: SessionState


async def pair(a: Node, b: Node) -> PairingResult:
    """Pair b (joins) with a (shows the code); both accept.

    Raises PairingFailedError when either side fails.
    """
    with trio.fail_after(DEADLINE):
        showing = await a.client.start_pairing()
        code = showing.code
        joining = await b.client.join_pairing(" ".join(code.words), timeout=DEADLINE)
        done: dict[str, SessionState] = {}

        async def finish(side: str, pairing: Pairing) -> None:
            await pairing.confirmation()
            await pairing.accept()
            done[side] = await pairing.paired()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish, "initiator", showing)
            nursery.start_soon(finish, "joiner", joining)
    return PairingResult(done["initiator"], done["joiner"])
