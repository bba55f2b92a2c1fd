"""A whole node in a process of its own, whose driver holds it at chosen messages: python node_process.py

The driver writes one JSON object a line to standard input, and reads one a line from standard output.

    {"config": {...}, "session": {...}}            first: NodeConfig, and SessionConfig where it differs
    {"arm": [event, name, number], "actor": null}  the next session is held at this message, once
    {"arm": …, "actor": "vault"}                   the same for another actor, counted from now on
    {"release": true}                              whoever is held goes on
    end of input                                   the node stops

    {"ready": {"peer": hex, "addresses": [...]}}   {"born": [pid, start], "actor": name}
    {"sight": [actor, event, name, number], "held": bool}   {"log": [...]}   {"over": why}
"""

import dataclasses
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

import spacedrive_node.node
from spacedrive_node.config.settings import NodeConfig
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.node import NodeFailedError, Ready, serve
from spacedrive_node.supervisor import child_channel
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.libc import die_with_parent
from spacedrive_node.supervisor.spawner import Handle
from spacedrive_node.tests.harness.faults.message_tap import Sight, Tap
from spacedrive_node.tests.harness.faults.process_killer import start_of

NEVER = ("", "", 0)
USUAL_TURNS = child_channel.MISSED_TURNS


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


@dataclass
class Holding(Tap):
    """Holds each session at the message that it was armed with."""

    free: tuple[str, str, int] | None = None
    """For the next session."""
    armed: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    released: trio.Event = field(default_factory=trio.Event)

    def release(self) -> None:
        child_channel.MISSED_TURNS = USUAL_TURNS
        self.released.set()
        self.released = trio.Event()

    def arm(self, actor: str | None, moment: tuple[str, str, int]) -> None:
        if actor is None:
            self.free = moment
            return
        event, name, number = moment
        self.armed[actor] = (event, name, self.sights[actor, event, name] + number)

    async def spawn(self, spec: ChildSpec) -> Handle:
        handle = await super().spawn(spec)
        for actor, pid in ((spec.kind, handle.pid), ("zygote", self.inner.pid)):
            say(born=[pid, start_of(pid)], actor=actor)
        return handle

    async def intercept(self, actor: str, message: Any) -> None:
        if actor.startswith("session") and actor not in self.armed:
            self.armed[actor], self.free = self.free or NEVER, None
        await super().intercept(actor, message)

    async def hold(self, sight: Sight) -> None:
        held = self.armed.get(sight.actor) == sight[1:]
        say(sight=sight, held=held)
        if held:
            child_channel.MISSED_TURNS = sys.maxsize  # its answers to the heartbeat are held up, too
            await self.released.wait()
            self.armed[sight.actor] = NEVER

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        if level != "debug":
            say(log=[actor, level, event, dict(fields)])


async def main() -> None:
    holding = Holding()
    holding.watch = holding.hold
    stop = trio.Event()
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin, trio.open_nursery() as nursery:
        lines = _lines(stdin)
        order = await anext(lines)
        if order["session"]:
            _configure_sessions(SessionConfig(**order["session"]))
        config = NodeConfig(**{key: _tuples(value) for key, value in order["config"].items()})

        async def obey() -> None:
            async for line in lines:
                if "arm" in line:
                    holding.arm(line["actor"], tuple(line["arm"]))
                else:
                    holding.release()
            stop.set()

        def ready(line: Ready) -> None:
            say(ready={"peer": line.peer.hex(), "addresses": holding.listening})

        nursery.start_soon(obey)
        await serve(config, host=holding, stop=stop, ready=ready, log=holding.on_log)
        nursery.cancel_scope.cancel()


async def _lines(stream: trio.abc.ReceiveStream) -> Any:
    data = b""
    while piece := await stream.receive_some(65536):
        *whole, data = (data + piece).split(b"\n")
        for line in whole:
            yield json.loads(line)


def _configure_sessions(config: SessionConfig) -> None:
    original = spacedrive_node.node.session_spec
    spacedrive_node.node.session_spec = lambda: dataclasses.replace(original(), config=config)


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    die_with_parent(os.getppid())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        trio.run(main)
    except* NodeFailedError as failed:
        say(over=str(failed.exceptions[0]))
        sys.exit(1)
