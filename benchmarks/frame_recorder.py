"""A spawner that records every frame between a supervisor and its children. The product knows nothing of it.

It keeps when a message passed, between whom, its kind, ids, request number and size, and a hash of the wire
frame that it carries, by which that is recognised on the other node. It never keeps contents.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from ..messages.base import INTERNAL_LIMIT, FrameReader, encode, frame
from ..messages.child_protocol import Deliver, FromChild, Start, Step, decode_to_child
from ..supervisor.child_specs import ChildSpec
from ..supervisor.process_spawner import ProcessSpawner
from ..supervisor.spawner import RunningChild, Spare, Spawner


class Passed(msgspec.Struct, frozen=True):
    """One message that passed the supervisor's end of a channel.

    at         nanoseconds of the monotonic clock
    actor      the child: "session-7f…", "vault", …
    key        a hash of the DHT key that it is about
    wire       kind of the wire frame that the message carries, `wire_size` its bytes, `carries` a hash of it
    direction  "in": given to the child (Deliver); "out": in a Step of it; "step": a Step, after what it sends
    input      number of the Deliver, or of the one that the Step answers (0: the actor's own accord)
    """

    at: int
    actor: str
    direction: str
    input: int
    kind: str = ""
    other: str = ""
    id: str = ""
    size: int = 0
    request: int | None = None
    op: str = ""
    key: str = ""
    carries: str = ""
    wire: str = ""
    wire_size: int = 0
    shown: str = ""


@dataclass
class Recorder:
    """Wraps a spawner. While `recording`, it collects raw frames, which `passed` decodes afterwards."""

    inner: Spawner = field(default_factory=ProcessSpawner)
    recording: bool = True
    spawned: list[tuple[str, int]] = field(default_factory=list)
    """(kind, pid) of every child, in order."""
    on_frame: Callable[[str, FromChild], None] | None = None
    """Called with each frame of a child, recording or not: its name and the frame."""
    _raw: list[tuple[int, "_Handle", Any]] = field(default_factory=list)

    def opened(self, *, preload: Sequence[str], on_lost: Any) -> AbstractAsyncContextManager[None]:
        """As Spawner.opened."""
        return self.inner.opened(preload=preload, on_lost=on_lost)

    async def spawn(self, spec: ChildSpec) -> RunningChild:
        """As Spawner.spawn."""
        handle = await self.inner.spawn(spec)
        self.spawned.append((spec.kind, handle.pid))
        return cast(RunningChild, _Handle(handle, spec.kind, self))

    @property
    def pid(self) -> int:
        """As Spawner.pid."""
        return self.inner.pid

    @property
    def spares(self) -> Mapping[str, Spare]:
        """As Spawner.spares."""
        return dict(self.inner.spares)

    @property
    def uptime(self) -> float:
        """As Spawner.uptime."""
        return float(self.inner.uptime)

    def record(self, handle: "_Handle", what: Any) -> None:
        """Keep a frame and the time."""
        if self.recording:
            self._raw.append((time.monotonic_ns(), handle, what))

    def clear(self) -> None:
        """Drop everything recorded so far."""
        self._raw.clear()
        self.spawned.clear()

    def passed(self) -> list[Passed]:
        """Return all messages that have passed, in order."""
        found: list[Passed] = []
        for at, handle, what in self._raw:
            if isinstance(what, Deliver):
                body = _about(what.body)
                found.append(
                    Passed(at, handle.name, "in", what.input, what.kind, what.sender, what.id.hex(), **body)
                )
            else:
                for out in what.out:
                    body = _about(out.body)
                    found.append(
                        Passed(at, handle.name, "out", what.input, out.kind, out.to, out.id.hex(), **body)
                    )
                found.append(Passed(at, handle.name, "step", what.input, size=len(what.checkpoint or b"")))
        return found


def _about(body: msgspec.Raw) -> dict[str, Any]:
    """Return the fields of a message that are kept."""
    fields = msgspec.msgpack.decode(body)
    carried = fields.get("frame")
    wire = msgspec.msgpack.decode(carried)["t"] if carried else ""
    key = fields.get("key")
    return {
        "size": len(memoryview(body)),
        "request": fields.get("request"),
        "op": fields.get("op") or "",
        "key": _short_hash(key) if isinstance(key, bytes) else "",
        "carries": _short_hash(carried) if carried else "",
        "wire": wire,
        "wire_size": len(carried or b""),
        "shown": str(fields.get("outcome") or fields.get("stage") or ""),
    }


def _short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


class _Handle:
    """A child whose channel is recorded."""

    def __init__(self, inner: RunningChild, kind: str, recorder: Recorder) -> None:
        self._inner = inner
        self.name = kind
        self.channel = _Channel(self, inner.channel, recorder)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Channel:
    """Passes frames on and records them."""

    def __init__(self, handle: _Handle, inner: Any, recorder: Recorder) -> None:
        self._handle, self._inner, self._recorder = handle, inner, recorder
        self._reader = FrameReader(INTERNAL_LIMIT)

    async def send_bytes(self, data: bytes) -> None:
        """To the child."""
        self._record_sent(data)
        await self._inner.send_bytes(data)

    def send_nowait(self, data: bytes) -> int:
        """To the child, as much as goes at once."""
        written: int = self._inner.send_nowait(data)
        self._record_sent(data[:written])
        return written

    def _record_sent(self, data: bytes) -> None:
        self._reader.feed(data)
        while (payload := self._reader.next_frame()) is not None:
            message = decode_to_child(payload)
            if isinstance(message, Deliver):
                self._recorder.record(self._handle, message)
            elif isinstance(message, Start):
                self._handle.name = message.name

    async def send(self, message: msgspec.Struct) -> None:
        """To the child."""
        await self.send_bytes(frame(encode(message), INTERNAL_LIMIT))

    async def receive(self) -> FromChild:
        """From the child."""
        message: FromChild = await self._inner.receive()
        self._record_received(message)
        return message

    def receive_nowait(self) -> FromChild | None:
        """From the child, what has been read already."""
        message: FromChild | None = self._inner.receive_nowait()
        if message is not None:
            self._record_received(message)
        return message

    def _record_received(self, message: FromChild) -> None:
        if isinstance(message, Step):
            self._recorder.record(self._handle, message)
        if self._recorder.on_frame is not None:
            self._recorder.on_frame(self._handle.name, message)

    async def aclose(self) -> None:
        """Close it."""
        await self._inner.aclose()
