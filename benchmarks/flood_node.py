"""A node of tiny actors that send as fast as they can: `flood_node SESSIONS MESSAGES`. Prints one JSON line.

Each session keeps some requests open at the vault, and sends another for each answer. Every message is an
input, is answered by a Step with a checkpoint, and passes the routing table and the ledger, as in a real
node, but the actors compute almost nothing. The actors are processes; this process is their supervisor.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import trio

from ..actors.base import Effects, Incoming, Mailbox, Send, run_live_actor
from ..actors.stepping import StepMachine, SteppingEntry
from ..messages import to_gateway, to_session, to_vault
from ..messages.child_protocol import Start, ToChild
from ..messages.from_supervisor import SessionEnded
from ..messages.session_names import actor_of_session
from ..supervisor.channel import Channel
from ..supervisor.child_specs import ChildSpec
from ..supervisor.process_spawner import ProcessSpawner
from ..supervisor.tree import run_tree

_OPEN = 32
"""Requests of one session that are open at once."""
_CHECKPOINT = bytes(600)
"""A checkpoint as large as a session's in the middle of a pairing."""
_OWN = (b"p" * 38, b"k" * 32)


class Config(msgspec.Struct, frozen=True):
    """The configuration of each actor."""

    sessions: int
    messages: int


_decode = msgspec.msgpack.Decoder(Config).decode


@dataclass
class _Quiet:
    """A stepping actor without timers."""

    start: Start

    def wake_at(self) -> float:
        return float("inf")

    def tick(self, now: float) -> None:
        return None


class Vault(_Quiet):
    """Answers every request."""

    def step(self, incoming: Incoming[Any], now: float) -> Effects:
        """Answer one request."""
        if not isinstance(incoming.message, to_vault.SignIdentity):
            return Effects()
        answer = to_session.Signed(incoming.message.request, b"info", bytes(64))
        return Effects(out=[Send(incoming.sender, answer)], checkpoint=_CHECKPOINT)


class Session(_Quiet):
    """Sends `messages` requests, some at a time."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._left = _decode(start.config).messages
        self._open = 0

    def step(self, incoming: Incoming[Any], now: float) -> Effects:
        """Send as many requests as were answered."""
        self._open -= isinstance(incoming.message, to_session.Signed)
        out = []
        while self._left and self._open < _OPEN:
            self._left -= 1
            self._open += 1
            out.append(Send("vault", to_vault.SignIdentity(self._left, "joiner", bytes(32), bytes(32))))
        end = None if self._open else "cancelled"
        return Effects(out=out, checkpoint=_CHECKPOINT, end=end)  # type: ignore[arg-type]


def _entry(decode: Any, machine: Callable[[Start], StepMachine[Any]]) -> SteppingEntry[Any]:
    @contextmanager
    def opened(start: Start) -> Iterator[StepMachine[Any]]:
        yield machine(start)

    return SteppingEntry(decode, opened)


vault = _entry(to_vault.decode, Vault)
session = _entry(to_session.decode, Session)


async def gateway(channel: Channel[ToChild]) -> None:
    """Entry of the gateway: starts the sessions, and stops the node when they have ended."""
    await run_live_actor(channel, to_gateway.decode, _gateway)


async def _gateway(mailbox: Mailbox[Any], start: Start) -> None:
    left = _decode(start.config).sessions
    for number in range(left):
        name = f"{number:016x}"
        await mailbox.send(actor_of_session(name), to_session.StartPairing(name, 60.0, *_OWN))
    async for incoming in mailbox:
        left -= isinstance(incoming.message, SessionEnded)
        if not left:
            await mailbox.log("info", "done")
            return


async def _main(sessions: int, messages: int) -> None:
    config = Config(sessions, messages)
    stop, done = trio.Event(), trio.Event()
    marks: dict[str, tuple[float, float]] = {}

    def log(actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        if event == "done":
            marks["end"] = time.monotonic(), time.process_time()
            done.set()
            stop.set()
        elif level in ("warning", "error") and not done.is_set():
            print(json.dumps({"error": f"{actor}: {event} {dict(fields)}"}), flush=True)
            stop.set()

    def ready() -> None:
        marks["begin"] = time.monotonic(), time.process_time()

    here = str(__spec__.name) if __spec__ is not None else __name__
    specs = [
        ChildSpec("vault", f"{here}:vault", config, stepping=True),
        ChildSpec("gateway", f"{here}:gateway", config, restart="temporary"),
    ]
    child = ChildSpec("session", f"{here}:session", config, restart="transient", stepping=True)
    await run_tree(
        specs,
        child,
        spawner=ProcessSpawner(preload=[here]),
        max_sessions=sessions,
        on_log=log,
        on_ready=ready,
        stop=stop,
    )
    if "end" in marks:
        seconds, processor = (end - begin for begin, end in zip(marks["begin"], marks["end"], strict=True))
        sent = 2 * sessions * messages
        print(json.dumps({"messages": sent, "seconds": seconds, "processor": processor, "pid": os.getpid()}))


if __name__ == "__main__":
    trio.run(_main, int(sys.argv[1]), int(sys.argv[2]))
