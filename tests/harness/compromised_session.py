"""A session under an attacker's control: the real session, with a test between it and its supervisor.

The supervisor, the vault and all other actors are real, in their own processes.
"""

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from os import urandom
from typing import Any

import msgspec
import trio

from spacedrive_node.actors.session import main as session_main
from spacedrive_node.messages import to_session
from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.child_protocol import Deliver, Outgoing, Step
from spacedrive_node.messages.to_vault import StoreDevice
from spacedrive_node.messages.types import Outcome
from spacedrive_node.supervisor.child_specs import ChildSpec
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.supervisor.restart_policy import Cause
from spacedrive_node.supervisor.spawner import RunningChild, Spare
from spacedrive_node.supervisor.task_spawner import TaskSpawner

DEADLINE = 60.0
_numbers = itertools.count()


def envelope(to: str, message: Message, *, kind: str | None = None, slot: bytes = b"") -> Outgoing:
    """Return an envelope. `kind` overrides the kind of the message."""
    return Outgoing(to, kind or type(message).__name__, urandom(16), msgspec.Raw(encode(message)), slot)


@dataclass
class CompromisedSession:
    """A spawner whose sessions work as usual, and also send what `send_step` is given."""

    delivered: list[Deliver] = field(default_factory=list)
    """Messages that were delivered to the sessions."""
    changed: trio.Event = field(default_factory=trio.Event)
    store_answers: dict[int, str] = field(default_factory=dict)
    """The vault's answer to each StoreDevice by request number: the reason of the refusal, "" if stored."""
    channel: Any = None
    processes: ProcessSpawner = field(default_factory=ProcessSpawner)
    tasks: TaskSpawner = field(default_factory=TaskSpawner)

    def __post_init__(self) -> None:
        self._name = f"taken_{next(_numbers)}"

    @asynccontextmanager
    async def opened(
        self, *, preload: Sequence[str], on_lost: Callable[[Cause], None]
    ) -> AsyncIterator[None]:
        async with (
            self.processes.opened(preload=preload, on_lost=on_lost),
            self.tasks.opened(preload=(), on_lost=on_lost),
        ):
            globals()[self._name] = self._main
            yield
            del globals()[self._name]

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        if spec.kind == "session":
            return await self.tasks.spawn(replace(spec, entry=f"{__name__}:{self._name}"))
        return await self.processes.spawn(spec)

    @property
    def pid(self) -> int:
        return self.processes.pid

    @property
    def spares(self) -> Mapping[str, Spare]:
        return self.processes.spares

    @property
    def uptime(self) -> float:
        return self.processes.uptime

    async def _main(self, channel: Any) -> None:
        self.channel = channel
        try:
            await session_main(_Between(channel, self))
        except* trio.ClosedResourceError:  # how a task is killed
            await trio.sleep_forever()

    async def send_step(self, *envelopes: Outgoing, end: Outcome | None = None) -> None:
        """Send a forged step."""
        await self.channel.send(Step(0, envelopes, end=end))

    async def store(self, message: StoreDevice, **lie: str) -> str:
        """Send a StoreDevice to the vault. Return the reason of the refusal, "" if it was stored."""
        await self.send_step(envelope("vault", message, **lie))
        with trio.fail_after(DEADLINE):
            while message.request not in self.store_answers:
                await self.changed.wait()
        return self.store_answers[message.request]

    def record(self, deliver: Deliver) -> None:
        self.delivered.append(deliver)
        if deliver.kind in ("Stored", "StoreRefused"):
            answer = to_session.decode(deliver.body)
            self.store_answers[answer.request] = getattr(answer, "reason", "")
        self.changed.set()
        self.changed = trio.Event()


class _Between:
    def __init__(self, inner: Any, compromised: CompromisedSession) -> None:
        self._inner, self._session = inner, compromised

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def receive(self) -> Any:
        message = await self._inner.receive()
        if isinstance(message, Deliver):
            self._session.record(message)
        return message
