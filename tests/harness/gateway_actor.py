"""Runs a real gateway as a trio task behind a real Unix socket, with a fake supervisor at its channel."""

import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import trio

from spacedrive_node.actors.base import now
from spacedrive_node.actors.gateway import main
from spacedrive_node.config.control_socket import bind_control
from spacedrive_node.messages import to_supervisor
from spacedrive_node.messages.actor_configs import GatewayConfig
from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.child_protocol import (
    Deliver,
    FromChild,
    Log,
    Outgoing,
    Ready,
    Start,
    Step,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.from_supervisor import Alive
from spacedrive_node.messages.to_gateway import (
    ActorInfo,
    Actors,
    Confirmation,
    NodeIdentity,
    Readiness,
    SeenDevice,
    SessionLimit,
    SessionView,
    SwarmStatus,
)
from spacedrive_node.protocol.identity import device_id
from spacedrive_node.supervisor.channel import Channel
from spacedrive_node.tests.harness.secret_sweep import collector

PEER = bytes.fromhex("002408011220") + b"\x11" * 32
CODE = bytes(range(16))
SUPERVISOR_ACTOR = ActorInfo("supervisor", 1, "running", 0, 1.0, 0, 1, 1)


class GatewayHost:
    """Plays the supervisor and every other actor for one gateway.

    Keeps the standing messages for the next incarnation, answers ListActors, and AreYouAlive while `alive`,
    and records all other messages.
    """

    def __init__(self, control: Path) -> None:
        self.control = control
        self.listener = bind_control(control)
        self.standing: dict[tuple[str, str], Message] = {}
        self.steps: list[tuple[Outgoing, ...]] = []
        self.logs: list[Log] = []
        self.incarnation = 0
        self.answer_barrier = True
        self.alive = True
        self._arrived = trio.lowlevel.ParkingLot()
        self._channel: Channel[FromChild] | None = None
        self._scope = trio.CancelScope()
        self._number = 0
        self._over = trio.Event()

    async def run_gateway(self, nursery: trio.Nursery, **config: Any) -> None:
        """Start an incarnation of the gateway and deliver the standing messages."""
        ours, theirs = socket.socketpair()
        self.incarnation += 1
        self._number = 0
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        self._channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), decode_from_child)
        await nursery.start(self._host, theirs)
        settings = GatewayConfig(socket_fd=self.listener.fileno(), version="1.2.3", **config)
        await self._channel.send(
            Start("gateway", self.incarnation, msgspec.Raw(msgspec.msgpack.encode(settings)))
        )
        assert isinstance(await self._channel.receive(), Ready)
        for (sender, _slot), message in self.standing.items():
            await self.deliver(sender, message)
        nursery.start_soon(self._read, self._channel)

    async def _host(self, theirs: socket.socket, task_status: Any) -> None:
        with self._scope:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
            task_status.started()
            try:
                await main(Channel(stream, decode_to_child))
            finally:
                self._over.set()
                await trio.aclose_forcefully(stream)

    async def _read(self, channel: Channel[FromChild]) -> None:
        try:
            await self._read_on(channel)
        finally:
            await trio.aclose_forcefully(channel._stream)

    async def _read_on(self, channel: Channel[FromChild]) -> None:
        while True:
            try:
                frame = await channel.receive()
            except trio.EndOfChannel:
                return
            if isinstance(frame, Log):
                self.logs.append(frame)
                collector.add_code(CODE)
                collector.add_log_line("the gateway", "gateway", frame.level, frame.event, frame.fields)
            if not isinstance(frame, Step):
                continue
            kinds = [out.kind for out in frame.out]
            if kinds == ["ListActors"] and self.answer_barrier:
                await self.answer(frame.out[0])
                continue
            if kinds == ["AreYouAlive"] and self.alive:
                request = to_supervisor.decode(frame.out[0].body)
                assert isinstance(request, to_supervisor.AreYouAlive)
                await self.deliver("supervisor", Alive(request.request))
                continue
            self.steps.append(frame.out)
            self._arrived.unpark_all()

    async def answer(self, asked: Outgoing, actors: tuple[ActorInfo, ...] = (SUPERVISOR_ACTOR,)) -> None:
        """Answer a ListActors."""
        request = to_supervisor.decode(asked.body)
        assert isinstance(request, to_supervisor.ListActors)
        await self.deliver("supervisor", Actors(request.request, actors))

    async def deliver(self, sender: str, message: Message, id: bytes | None = None) -> None:
        assert self._channel is not None
        self._number += 1
        await self._channel.send(
            Deliver(
                self._number,
                sender,
                1,
                type(message).__name__,
                os.urandom(16) if id is None else id,
                msgspec.Raw(encode(message)),
            )
        )

    async def deliver_standing(self, sender: str, message: Message, slot: str = "") -> None:
        """Deliver a standing message, and keep it for the next incarnation."""
        self.standing[sender, type(message).__name__ + slot] = message
        if self._channel is not None:
            await self.deliver(sender, message)

    async def kill(self) -> None:
        """End the gateway as a SIGKILL would: nothing is flushed, every connection breaks."""
        self._scope.cancel()
        await self._over.wait()
        self._channel = None

    async def stop(self) -> None:
        """Ask the gateway to stop and wait until it has."""
        assert self._channel is not None
        await self._channel.send(Stop())
        await self._over.wait()

    async def next_step(self, *kinds: str) -> tuple[Outgoing, ...]:
        """Wait for a step that sends exactly these kinds of messages, and return it."""
        while True:
            for step in self.steps:
                if tuple(out.kind for out in step) == kinds:
                    self.steps.remove(step)
                    return step
            await self._arrived.park()

    async def show_session(self, session: str, stage: str = "waiting", **fields: Any) -> SessionView:
        """Deliver a SessionView of a session."""
        fields.setdefault("role", "initiator")
        fields.setdefault("started", now())
        view = SessionView(session=session, stage=stage, **fields)  # type: ignore[arg-type]
        await self.deliver_standing(f"session-{session}", view)
        return view

    async def deliver_readiness(self) -> None:
        await self.deliver_standing("vault", Readiness("vault", True), "vault")
        await self.deliver_standing("swarm", Readiness("swarm", True), "swarm")
        await self.deliver_standing("discovery", Readiness("dht", False, "bootstrapping"), "dht")
        await self.deliver_standing("vault", NodeIdentity(b"i" * 16, "host", b"k" * 32, PEER))
        await self.deliver_standing(
            "swarm", SwarmStatus(PEER, ("/ip4/127.0.0.1/tcp/1",), "private", "server", 3)
        )
        await self.deliver_standing("supervisor", SessionLimit(256))


def confirmation() -> Confirmation:
    return Confirmation(
        SeenDevice(device_id(b"K" * 32), "other", "linux", b"K" * 32, PEER), "012345", b"t" * 32
    )
