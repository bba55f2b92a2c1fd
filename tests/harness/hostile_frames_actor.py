"""A session that writes malformed or forged frames to the supervisor once its user decides."""

import msgspec

from spacedrive_node.actors.base import Effects
from spacedrive_node.actors.stepping import run_stepping_actor
from spacedrive_node.messages import to_session
from spacedrive_node.messages.base import INTERNAL_LIMIT, encode, frame
from spacedrive_node.messages.child_protocol import Outgoing, Ready, Step
from spacedrive_node.tests.harness.tiny_actors import Counter, TinyConfig

KINDS = {
    "random": b"\x00\x00\x00\x20" + bytes(range(32)),
    "empty": frame(b"", 1),
    "oversized": (INTERNAL_LIMIT + 1).to_bytes(4, "big") + b"x",
    "huge": b"\xff\xff\xff\xff",
    "nested": frame(b"\x91" * 500_000, INTERNAL_LIMIT),
    "trailing": frame(encode(Ready()) + b"x", 100),
    "of a parent": frame(b"\x81\xa1t\xa4Ping", 100),
    "forged sender": frame(
        encode(Step(0, (Outgoing("vault", "Accept", b"i" * 16, msgspec.Raw(b"\xc0")),))), 1000
    ),
    "another's input": frame(encode(Step(99)), 100),
    "no actor": frame(encode(Step(0, (Outgoing("nobody", "Serve", b"i" * 16, msgspec.Raw(b"\xc0")),))), 1000),
}


class HostileFramesSession(Counter):
    """Counts like a Counter until its user decides."""

    def __init__(self, start, stream):
        super().__init__(start)
        self.data = KINDS[msgspec.msgpack.decode(start.config, type=TinyConfig).trail]
        self.socket = stream.socket

    def step(self, incoming, now):
        if isinstance(incoming.message, to_session.Decide):
            self.write()
            return Effects()
        return super().step(incoming, now)

    def write(self):
        data = self.data
        with plain_socket(self.socket) as raw:
            raw.setblocking(True)
            raw.sendall(data)


def plain_socket(sock):
    """Return a plain socket on the same descriptor."""
    import os
    import socket

    return socket.socket(fileno=os.dup(sock.fileno()))


async def hostile_frames(channel):
    await run_stepping_actor(
        channel, to_session.decode, lambda start: HostileFramesSession(start, channel._stream)
    )
