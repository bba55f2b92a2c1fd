"""The actor as the supervisor sees it: frames in, steps out, restored from a checkpoint."""

import msgspec
import trio
import trio.testing

from spacedrive_node.actors.session import main
from spacedrive_node.messages.actor_configs import SessionConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import (
    Deliver,
    Ready,
    Start,
    Step,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.to_gateway import SessionView
from spacedrive_node.messages.to_session import CancelPairing, StartPairing
from spacedrive_node.protocol.peer_ids import peer_id_of
from spacedrive_node.supervisor.channel import Channel

NAME = "session-0123456789abcdef"
BEGIN = StartPairing("0123456789abcdef", 60.0, peer_id_of(bytes(range(32))), bytes(32))


def start(checkpoint: bytes | None = None, incarnation: int = 1) -> Start:
    return Start(NAME, incarnation, msgspec.Raw(encode(SessionConfig())), checkpoint)


def deliver(number: int, message: msgspec.Struct) -> Deliver:
    kind = type(message).__name__
    return Deliver(number, "gateway", 1, kind, number.to_bytes(16, "big"), msgspec.Raw(encode(message)))


async def test_a_session_survives_its_process() -> None:
    """Started, killed, restored from its checkpoint, cancelled: one outcome, in its last step."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            near, far = trio.testing.memory_stream_pair()
            supervisor = Channel(near, decode_from_child)
            nursery.start_soon(main, Channel(far, decode_to_child))
            await supervisor.send(start())
            assert isinstance(await supervisor.receive(), Ready)
            await supervisor.send(deliver(1, BEGIN))
            step = await supervisor.receive()
            assert isinstance(step, Step)
            assert [out.kind for out in step.out] == ["Observed", "Serve", "StartProviding", "SessionView"]
            await supervisor.send(Stop())

        async with trio.open_nursery() as nursery:
            near, far = trio.testing.memory_stream_pair()
            supervisor = Channel(near, decode_from_child)
            nursery.start_soon(main, Channel(far, decode_to_child))
            await supervisor.send(start(step.checkpoint, 2))
            assert isinstance(await supervisor.receive(), Ready)
            await supervisor.send(deliver(2, CancelPairing()))
            last = await supervisor.receive()
            assert isinstance(last, Step)
            assert last.end == "cancelled"
            view = msgspec.msgpack.decode(last.out[0].body, type=SessionView)
            assert view.outcome == "cancelled"
            assert [out.kind for out in last.out] == ["SessionView", "Observed"]
