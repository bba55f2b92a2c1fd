"""Runs a real supervisor over tiny actors, with the test in control of the gateway."""

import os
import socket
from contextlib import asynccontextmanager

import msgspec
import trio

from spacedrive_node.messages import to_gateway, to_session, to_supervisor
from spacedrive_node.messages.base import encode
from spacedrive_node.supervisor.child_specs import SESSION_INTENSITY, ChildSpec
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.supervisor.task_spawner import TaskSpawner
from spacedrive_node.supervisor.tree import NodeFailedError, run_tree
from spacedrive_node.tests.harness.tiny_actors import BridgeConfig, Received, SendOrder, TinyConfig

OWN_IDENTITY = (b"p" * 38, b"k" * 32)
"""Peer id and device key in the messages that start a session. Tiny sessions ignore them."""

ACTORS = "spacedrive_node.tests.harness.tiny_actors"
DEADLINE = 30


HOSTS = {
    "process": lambda heartbeat: ProcessSpawner(preload=(ACTORS,), heartbeat=heartbeat),
    "task": lambda heartbeat: TaskSpawner(),
}


def session_name(number=1):
    return f"session-{number:016x}"


FIRST_SESSION = session_name()


class GatewayDriver:
    """The test's end of the gateway: sends messages through it, and receives what is delivered to it."""

    def __init__(self, sock, stop):
        self.sock = sock
        self.stop = stop
        self.logs = []
        self.seen = []
        self.over = trio.Event()
        self.failure = None

    @property
    def unusual(self):
        """The lines of the log without those that every session has."""
        usual = ("session started", "session ended", "session stopped")
        return [line for line in self.logs if line[2] not in usual]

    async def send(self, *messages, to=FIRST_SESSION, id=None, kind=None):
        orders = [SendOrder(to, kind or type(m).__name__, id or os.urandom(16), encode(m)) for m in messages]
        await self.sock.send(encode_all(orders))

    async def next(self, kind=None):
        """Return the next message to the gateway, or the next one of a kind."""
        with trio.fail_after(DEADLINE):
            while True:
                data = await self.sock.recv(1 << 20)
                seen = msgspec.msgpack.decode(data, type=Received)
                message = to_gateway.decode(seen.body) if seen.kind else None  # None: it has started
                self.seen.append((seen, message))
                if kind is None or seen.kind == kind.__name__:
                    return message

    async def view(self, **fields):
        """Return the next SessionView in which these fields have these values."""
        while True:
            view = await self.next(to_gateway.SessionView)
            if all(getattr(view, name) == value for name, value in fields.items()):
                return view

    async def actors(self):
        await self.send(to_supervisor.ListActors(7), to="supervisor")
        return {row.actor: row for row in (await self.next(to_gateway.Actors)).actors}

    async def pid(self, name):
        return (await self.actors())[name].pid

    async def open_session(self, number=1):
        await self.send(
            to_session.StartPairing(f"{number:016x}", 60.0, *OWN_IDENTITY), to=session_name(number)
        )
        await self.view(session=f"{number:016x}")


def encode_all(orders):
    return msgspec.msgpack.encode(orders)


def spec(kind, entry, config=None, **options):
    return ChildSpec(kind, f"{ACTORS}:{entry}", config or TinyConfig(), **options)


@asynccontextmanager
async def node(
    host="process",
    *,
    session="counter",
    singletons=None,
    trail="",
    max_sessions=4,
    heartbeat=2.0,
    debug=False,
    reloads=None,
    **session_options,
):
    """Run a node of tiny actors and yield its GatewayDriver. At the end stop the node."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    fd = theirs.fileno() if host == "task" else 10
    stop = trio.Event()
    gateway = GatewayDriver(trio.socket.from_stdlib_socket(ours), stop)
    config = TinyConfig(trail)
    specs = singletons or [
        spec("vault", "signer", config, stepping=True),
        spec("swarm", "quiet_swarm", config),
        spec("gateway", "bridge", BridgeConfig(fd), fds=(theirs.fileno(),)),
    ]
    options = {"restart": "transient", "stepping": True, "intensity": SESSION_INTENSITY, **session_options}
    session_spec = spec("session", session, **options)
    ready = trio.Event()

    async def run():
        try:
            await run_tree(
                specs,
                session_spec,
                spawner=HOSTS[host](heartbeat),
                max_sessions=max_sessions,
                on_log=lambda *line: gateway.logs.append(line),
                on_ready=ready.set,
                stop=stop,
                heartbeat=heartbeat,
                debug=debug,
                reloads=reloads,
            )
        except NodeFailedError as error:
            gateway.failure = error
        finally:
            ready.set()
            gateway.over.set()

    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            with trio.fail_after(DEADLINE):
                await ready.wait()
            try:
                yield gateway
            finally:
                stop.set()
                with trio.CancelScope(shield=True), trio.fail_after(DEADLINE):
                    await gateway.over.wait()
