"""A program that runs one whole node, which the process that started it holds at chosen messages.

    python -m spacedrive_node.tests.harness.faults.node_process

It reads one JSON object a line from standard input, and writes one a line to standard output.

    {"config": {...}, "session": {...}}            first: NodeConfig, and SessionConfig where it differs
    {"arm": [event, name, number], "actor": null}  the next session is held at this message, once
    {"arm": …, "actor": "vault"}                   the same for another actor, counted from now on
    {"release": true}                              whatever is held goes on
    end of input                                   the node stops

    {"ready": {"peer": hex, "addresses": [...]}}   {"born": [pid, start], "actor": name}
    {"sighting": [actor, event, name, number], "held": bool}   {"log": [...]}   {"over": why}
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
from spacedrive_node.supervisor.spawner import RunningChild
from spacedrive_node.tests.harness.faults.message_tap import MessageTap, Sighting
from spacedrive_node.tests.harness.faults.process_killer import start_time_of

NEVER = ("", "", 0)
USUAL_TURNS = child_channel.MAX_MISSED_HEARTBEATS


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


@dataclass
class HoldingTap(MessageTap):
    """Holds each session at the message for which it was armed."""

    free: tuple[str, str, int] | None = None
    """The message at which the next session is held."""
    armed: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    released: trio.Event = field(default_factory=trio.Event)

    def release(self) -> None:
        child_channel.MAX_MISSED_HEARTBEATS = USUAL_TURNS
        self.released.set()
        self.released = trio.Event()

    def arm(self, actor: str | None, point: tuple[str, str, int]) -> None:
        if actor is None:
            self.free = point
            return
        event, name, number = point
        self.armed[actor] = (event, name, self.sightings[actor, event, name] + number)

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        handle = await super().spawn(spec)
        for actor, pid in ((spec.kind, handle.pid), ("zygote", self.inner.pid)):
            say(born=[pid, start_time_of(pid)], actor=actor)
        return handle

    async def intercept(self, actor: str, message: Any) -> None:
        if actor.startswith("session") and actor not in self.armed:
            self.armed[actor], self.free = self.free or NEVER, None
        await super().intercept(actor, message)

    async def hold(self, sighting: Sighting) -> None:
        held = self.armed.get(sighting.actor) == sighting[1:]
        say(sighting=sighting, held=held)
        if held:
            child_channel.MAX_MISSED_HEARTBEATS = sys.maxsize  # its answers to the heartbeat are held as well
            await self.released.wait()
            self.armed[sighting.actor] = NEVER

    def on_log(self, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
        if level != "debug":
            say(log=[actor, level, event, dict(fields)])


async def main() -> None:
    tap = HoldingTap()
    tap.on_sighting = tap.hold
    stop = trio.Event()
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin, trio.open_nursery() as nursery:
        lines = _lines(stdin)
        first_line = await anext(lines)
        if first_line["session"]:
            _configure_sessions(SessionConfig(**first_line["session"]))
        config = NodeConfig(**{key: _tuples(value) for key, value in first_line["config"].items()})

        async def obey() -> None:
            async for line in lines:
                if "arm" in line:
                    tap.arm(line["actor"], tuple(line["arm"]))
                else:
                    tap.release()
            stop.set()

        def ready(line: Ready) -> None:
            say(ready={"peer": line.peer.hex(), "addresses": tap.listening})

        nursery.start_soon(obey)
        await serve(config, spawner=tap, stop=stop, ready=ready, log=tap.on_log)
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
