"""Tiny actors under the real supervisor: a gateway that a test drives, sessions that count, a vault."""

import os
import signal
import socket
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import msgspec
import trio

from spacedrive_node.actors.base import Effects, FatalActorError, Incoming, Send, run_live_actor
from spacedrive_node.actors.stepping import SteppingEntry, run_stepping_actor
from spacedrive_node.messages import to_gateway, to_metrics, to_session, to_swarm, to_vault
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import Fatal, Log, Outgoing, Step

SECRET = "do-not-print-this"


class SendOrder(msgspec.Struct):
    """Sent by the test to its gateway: a message to send."""

    to: str
    kind: str
    id: bytes
    body: bytes
    slot: bytes = b""


class Received(msgspec.Struct):
    """Sent by the gateway to the test: a message that was delivered. With an empty sender: it has started."""

    sender: str
    incarnation: int
    id: bytes
    kind: str
    body: bytes


class BridgeConfig(msgspec.Struct):
    socket_fd: int


class TinyConfig(msgspec.Struct):
    trail: str = ""
    fail: str = ""


async def bridge(channel):
    """Gateway: forwards delivered messages to the test, and sends what the test orders."""

    async def run(mailbox, start):
        config = msgspec.msgpack.decode(start.config, type=BridgeConfig)
        with socket.socket(fileno=os.dup(config.socket_fd)) as raw:
            await talk(mailbox, raw)

    async def talk(mailbox, raw):
        raw.setblocking(False)
        sock = trio.socket.from_stdlib_socket(raw)
        await sock.send(encode(Received("", mailbox.incarnation, b"", "", b"")))

        async def obey():
            while True:
                data = await sock.recv(1 << 20)
                if not data:
                    return
                orders = msgspec.msgpack.decode(data, type=list[SendOrder])
                out = tuple(
                    Outgoing(to=o.to, kind=o.kind, id=o.id, body=msgspec.Raw(o.body), slot=o.slot)
                    for o in orders
                )
                await mailbox._channel.send(Step(input=0, out=out))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey)
            async for got in mailbox:
                name = type(got.message).__name__
                await sock.send(
                    encode(Received(got.sender, got.incarnation, got.id, name, encode(got.message)))
                )
            nursery.cancel_scope.cancel()

    await run_live_actor(channel, to_gateway.decode, run)


class Counter:
    """Session: counts Decides, requests a signature for each, fails as a JoinPairing's timeout selects."""

    def __init__(self, start):
        self.name = start.name
        self.session = start.name.partition("-")[2]
        self.incarnation = start.incarnation
        self.count, self.signed = msgspec.msgpack.decode(start.checkpoint) if start.checkpoint else (0, 0)

    def wake_at(self):
        return float("inf")

    def tick(self, now):
        return None

    def step(self, incoming: Incoming, now):
        out, end = [], None
        match incoming.message:
            case to_session.Decide(accept=True):
                self.count += 1
                th = self.count.to_bytes(32, "big")
                out = [Send("vault", to_vault.SignIdentity(self.count, "joiner", th)), self.view()]
            case to_session.Signed():
                self.signed += 1
                out = [self.view()]
            case to_session.JoinPairing(timeout=timeout):
                self.misbehave(int(timeout))
                out = [self.view()]
            case to_session.CancelPairing():
                out, end = [self.view("cancelled")], "cancelled"
            case to_session.StartPairing():
                out = [Send("swarm", to_swarm.Serve(bytes(32), "initiator")), self.view()]
        return Effects(out=out, checkpoint=encode_pair(self.count, self.signed), end=end)

    def view(self, outcome=None):
        view = to_gateway.SessionView(
            self.session,
            "initiator",
            "waiting",
            float(self.count),
            message=f"signed {self.signed}",
            outcome=outcome,
        )
        return Send("gateway", view)

    def misbehave(self, how: int):
        match how:
            case 1:
                raise ValueError(SECRET)
            case 2:
                os.kill(os.getpid(), signal.SIGSEGV)
            case 3:
                while True:
                    pass
            case 4:
                os._exit(0)


def encode_pair(*numbers):
    return msgspec.msgpack.encode(numbers)


counter = SteppingEntry(to_session.decode, lambda start: nullcontext(Counter(start)))


class Prober(Counter):
    """Session that tries what the sandbox forbids, and reports which operations were allowed."""

    def view(self, outcome=None):
        sends = super().view(outcome)
        return Send(sends.to, msgspec.structs.replace(sends.message, message=" ".join(allowed_operations())))


def allowed_operations():
    tries = {
        "file": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "write": lambda: os.open("/tmp/never", os.O_RDWR | os.O_CREAT),
        "list": lambda: os.listdir("/"),
        "socket": socket.socket,
        "pair": socket.socketpair,
        "fork": os.fork,
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "kill": lambda: os.kill(os.getppid(), 0),
        "thread": lambda: threading.Thread(target=int).start(),
        "memory": lambda: bytearray(1 << 30),
        "pidfd": lambda: os.pidfd_open(os.getppid()),
        "random": lambda: os.urandom(16),
    }
    for name, attempt in tries.items():
        try:
            attempt()
        except (OSError, RuntimeError, MemoryError):
            continue
        yield name


async def prober(channel):
    await run_stepping_actor(channel, to_session.decode, Prober)


class Forger(Counter):
    """Session that sends a message that no session may send."""

    def step(self, incoming, now):
        if isinstance(incoming.message, to_session.Decide):
            return Effects(out=[self.view(), Send("swarm", to_swarm.SwarmIdentity(bytes(32)))])
        return super().step(incoming, now)


async def forger(channel):
    await run_stepping_actor(channel, to_session.decode, Forger)


class Signer:
    """Vault: answers every SignIdentity with how many distinct ones it has seen."""

    def __init__(self, start):
        self.ids = (
            set(msgspec.msgpack.decode(start.checkpoint, type=list[bytes])) if start.checkpoint else set()
        )

    def wake_at(self):
        return float("inf")

    def tick(self, now):
        return None

    def step(self, incoming, now):
        if not isinstance(incoming.message, to_vault.SignIdentity):
            return Effects()
        self.ids.add(incoming.message.th)
        answer = to_session.Signed(incoming.message.request, b"i", bytes(64))
        return Effects(
            out=[Send(incoming.sender, answer)], checkpoint=msgspec.msgpack.encode(sorted(self.ids))
        )


async def signer(channel):
    await run_stepping_actor(channel, to_vault.decode, Signer)


async def quiet_swarm(channel):
    async def run(mailbox, start):
        append_to_trail(start, "start")
        if msgspec.msgpack.decode(start.config, type=TinyConfig).fail == "fatal":
            raise FatalActorError("port 1 is not yours", is_temporary=True)
        async for _ in mailbox:
            pass
        append_to_trail(start, "stop")

    await run_live_actor(channel, to_swarm.decode, run)


def append_to_trail(start, what):
    """Append a line to the file in which a test reads the order of events."""
    trail = msgspec.msgpack.decode(start.config, type=TinyConfig).trail
    if trail:
        fd = os.open(trail, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{start.name} {what}\n".encode())
        os.close(fd)


class Meter:
    def __init__(self, start):
        pass

    def wake_at(self):
        return float("inf")

    def tick(self, now):
        return None

    def step(self, incoming, now):
        return Effects()


async def meter(channel):
    await run_stepping_actor(channel, to_metrics.decode, Meter)


async def sleeper(channel):
    """An actor that never gets ready."""
    await trio.sleep_forever()


class Rogue(Counter):
    """Session that was taken over: a JoinPairing's timeout selects what it sends past its Step."""

    def misbehave(self, how: int):
        for frame in ROGUE_FRAMES[how]:
            self.channel.send(frame)


LONG = "\N{FULL BLOCK}" * 300
ROGUE_FRAMES = {
    1: [Log(level="info", event="e", fields=dict.fromkeys(("self", "event", "method_name", "level"), 1))],
    2: [Log(level="info", event="e", fields={"Not a key": 1})],
    3: [Log(level="info", event="e", fields={"text": "x" * 1001})],
    4: [Log(level="info", event="e", fields=dict.fromkeys("abcdefghijklmnop", LONG))] * 150,
    5: [Fatal("the end of the node")],
}


@dataclass(frozen=True)
class RogueEntry:
    async def __call__(self, channel):
        raise NotImplementedError("only as a process")

    def serve(self, channel):
        def restore(start):
            machine = Rogue(start)
            machine.channel = channel
            return nullcontext(machine)

        SteppingEntry(to_session.decode, restore).serve(channel)


rogue = RogueEntry()


async def late_fatal(channel):
    """A swarm that works, and then says once that the node cannot go on."""

    async def run(mailbox, start):
        await mailbox.send("gateway", to_gateway.Readiness("swarm", ready=True))
        if mailbox.incarnation == 1:
            raise FatalActorError("the end of the node")
        async for _ in mailbox:
            pass

    await run_live_actor(channel, to_swarm.decode, run)
