"""Runs a real web actor as a trio task behind a real TCP socket, with a stand-in for the gateway."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
import trio.testing

from spacedrive_node.actors.web import main
from spacedrive_node.messages import control_protocol as c
from spacedrive_node.messages import to_gateway
from spacedrive_node.messages.actor_configs import WebConfig, page_token_digest
from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, Message, encode, frame
from spacedrive_node.messages.child_protocol import (
    Deliver,
    Ready,
    Start,
    Step,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.to_gateway import FramesRead, PageFrames
from spacedrive_node.messages.to_web import GatewayFrames
from spacedrive_node.supervisor.channel import Channel
from spacedrive_node.tests.harness.raw_http import PageClient

ASKS = c.Subscribe | c.WatchDevices | c.Status | c.ListActors | c.ListDevices
"""Requests that change nothing."""
RUN = "0123456789abcdef"
TOKEN = "token-of-the-tests-0123456789abcdefghijklmno"
STATUS = c.NodeStatus(
    id=0,
    name="anna",
    peer=bytes(38),
    version="1",
    addresses=(),
    reachability="this host",
    dht_mode="auto",
    dht_peers=0,
    sessions_active=0,
    sessions_limit=1,
    ready=True,
)


class WebHost(PageClient):
    """Plays the supervisor and the gateway: answers requests, records them, sends states of sessions."""

    def __init__(self, channel: Channel[Any], port: int) -> None:
        super().__init__(port, TOKEN)
        self.channel = channel
        self.frames_sent = 0
        self.requests: list[Any] = []
        """Requests that change something."""
        self.connections: list[int] = []
        self.frames_read = 0
        self.subscriptions = 0
        self.watches = 0
        """Of the present connection."""
        self.devices: tuple[to_gateway.Device, ...] = ()
        self.device_lists = 0
        """How often the devices were listed."""
        self.refused_lists = 0
        """So many of the first lists are refused."""
        self.silent = False
        """The gateway answers nothing."""
        self._reader = FrameReader(CONTROL_LIMIT)
        self._subscription = self._watch = 0
        self._inputs = 0
        self._arrived = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        while True:
            step = await self.channel.receive()
            if not isinstance(step, Step):
                continue
            for out in step.out:
                assert out.to == "gateway"
                message = to_gateway.decode(out.body)
                if isinstance(message, FramesRead):
                    self.frames_read += 1
                elif isinstance(message, PageFrames):
                    await self._take(message)
                self._arrived.unpark_all()

    async def _take(self, message: PageFrames) -> None:
        if message.connection not in self.connections:
            self.connections.append(message.connection)
            self.subscriptions = self.watches = 0
        self._reader.feed(message.frames)
        while (payload := self._reader.next_frame()) is not None:
            request = c.decode_request(payload)
            if not self.silent:
                await self.send(*self._replies(request))
            elif not isinstance(request, ASKS):
                self.requests.append(request)

    def _replies(self, request: Any) -> tuple[Message, ...]:
        if isinstance(request, c.WatchDevices):
            self._watch = request.id
            self.watches += 1
            return c.Done(request.id), c.DevicesChanged(request.id)
        return (self._reply(request),)

    def _reply(self, request: Any) -> Message:
        match request:
            case c.Subscribe():
                self._subscription = request.id
                self.subscriptions += 1
                return c.Done(request.id)
            case c.Status():
                return msgspec.structs.replace(STATUS, id=request.id)
            case c.ListActors():
                return c.ActorList(request.id, ())
            case c.ListDevices():
                self.device_lists += 1
                if self.device_lists <= self.refused_lists:
                    return c.Error(request.id, "not_ready", "its disk is full")
                return c.DeviceList(request.id, self.devices, False)
        self.requests.append(request)
        if isinstance(request, c.StartPairing | c.JoinPairing):
            return c.SessionStarted(request.id, "0" * 16)
        return c.Done(request.id)

    async def send(self, *replies: Message) -> None:
        """Send frames of the gateway to web, as one batch."""
        frames = b"".join(frame(encode(reply), CONTROL_LIMIT) for reply in replies)
        self.frames_sent += 1
        await self.deliver("gateway", GatewayFrames(self.connections[-1], frames))

    async def send_state(self, *states: c.SessionState) -> None:
        """Send states of sessions as one batch, once a page is open."""
        await self.wait_until(lambda: self.subscriptions)
        await self.send(*(c.SessionEvent(self._subscription, state) for state in states))

    async def send_device_change(self, count: int = 1) -> None:
        """Say so often, in one batch, that the devices have changed, once a page is open."""
        await self.wait_until(lambda: self.watches)
        await self.send(*[c.DevicesChanged(self._watch)] * count)

    async def deliver(self, sender: str, message: Message) -> None:
        self._inputs += 1
        body = msgspec.Raw(encode(message))
        kind = type(message).__name__
        await self.channel.send(Deliver(self._inputs, sender, 1, kind, os.urandom(16), body))

    async def wait_until(self, condition: Any) -> None:
        """Wait until something has arrived that makes the condition true."""
        while not condition():
            await self._arrived.park()


@asynccontextmanager
async def running_web() -> AsyncIterator[WebHost]:
    """Run the actor; everything within is done in 20 seconds."""
    listening = socket.create_server(("127.0.0.1", 0))
    here, there = trio.testing.memory_stream_pair()
    channel = Channel(here, decode_from_child)
    config = WebConfig(socket_fd=listening.fileno(), run=RUN, token_digest=page_token_digest(TOKEN.encode()))
    with listening, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(main, Channel(there, decode_to_child))
            await channel.send(Start("web", 1, msgspec.Raw(encode(config))))
            assert isinstance(await channel.receive(), Ready)
            host = WebHost(channel, listening.getsockname()[1])
            async with trio.open_nursery() as own:
                own.start_soon(host.run)
                yield host
                own.cancel_scope.cancel()
            await channel.send(Stop())
