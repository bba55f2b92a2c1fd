"""The first moments of sessions that nobody has, before the fork server forks.

The interpreter writes into the code that it runs, until it has run some times: each session would copy the
pages of that code. Run here, they stay shared (docs/decisions/0007). Nobody uses the codes, and nothing of
them is kept.
"""

import socket

import msgspec

from ...messages.actor_configs import SessionConfig
from ...messages.base import INTERNAL_LIMIT, encode, frame
from ...messages.child_protocol import Deliver, Ping, Start, Stop, decode_to_child
from ...messages.to_session import StartPairing
from ...supervisor.channel import BlockingChannel
from .actor import main

_RUNS = 12
"""As the fork server does it with the rest of an actor's start."""
_SESSION = "0" * 16


def rehearse() -> None:
    """Run the entry from a spare's heartbeat to the code that it shows, and stop it."""
    start = StartPairing(_SESSION, 60.0, bytes(38), bytes(32))
    frames = (
        Ping(),
        Start(f"session-{_SESSION}", 1, msgspec.Raw(encode(SessionConfig()))),
        Ping(),
        Deliver(1, "gateway", 1, "StartPairing", bytes(16), msgspec.Raw(encode(start))),
        Stop(),
    )
    data = b"".join(frame(encode(one), INTERNAL_LIMIT) for one in frames)
    for _ in range(_RUNS):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(data)
            main.serve(BlockingChannel(theirs, decode_to_child))
