"""No text that reaches a client can command its terminal, whoever of the node or beyond has said it."""

import msgspec
import pytest
import trio

from spacedrive_node.actors.gateway.outbox import Outbox
from spacedrive_node.client.node_client import ControlError
from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader
from spacedrive_node.messages.control_protocol import (
    ActorList,
    DeviceList,
    Error,
    NodeStatus,
    SessionEvent,
    Sessions,
    SessionState,
    ShownDevice,
    decode_reply,
)
from spacedrive_node.messages.to_gateway import (
    ActorInfo,
    Device,
    SwarmStatus,
    VaultError,
)
from spacedrive_node.tests.harness.gateway_actor import PEER

HOSTILE = "a\x1b]0;pwned\x07\x1b[2Jb\rc\nd\x9b31m\u202ee\u2028"
LONGEST = ("\x1b" * 200)[:200]


def sent(message: msgspec.Struct) -> object:
    """Return the message as a client decodes it, which checks its bounds too."""
    outbox, reader = Outbox(lambda: 1), FrameReader(CONTROL_LIMIT)
    outbox.reply(message)  # type: ignore[arg-type]
    reader.feed(outbox.pop_batch())
    payload = reader.next_frame()
    assert payload is not None
    return decode_reply(payload)


def texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, msgspec.Struct):
        value = [getattr(value, field) for field in value.__struct_fields__]
    return [text for part in value for text in texts(part)] if isinstance(value, (list, tuple)) else []


_SHOWN = ShownDevice(bytes(16), HOSTILE, HOSTILE[:32], PEER, bytes(32))
_STATE = SessionState("0" * 16, "joiner", "proving", device=_SHOWN, message=HOSTILE)
_DEVICE = Device(bytes(16), HOSTILE, HOSTILE[:32], PEER, bytes(32), "paired", 0.0, "0" * 16)


@pytest.mark.parametrize(
    "message",
    [
        Error(1, "internal", HOSTILE),
        Error(1, "internal", LONGEST),
        SessionEvent(1, _STATE),
        Sessions(1, (_STATE, _STATE)),
        DeviceList(1, (_DEVICE,), False),
        NodeStatus(1, HOSTILE, PEER, HOSTILE, (HOSTILE,), HOSTILE, "auto", 0, 0, 0, False, (HOSTILE,)),
        ActorList(1, (ActorInfo(HOSTILE, 1, HOSTILE, 0, 0.0, 0, 0, 0),)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_text_of_every_reply_is_printable(message) -> None:
    """Escaped and not dropped: whoever reads it sees what was said."""
    received = sent(message)
    assert len(texts(received)) == len(texts(message))
    assert all(text.isprintable() for text in texts(received))
    assert any("\\x1b" in text for text in texts(received))


def test_what_is_no_command_stays_as_it_is() -> None:
    """Letters of any language, and emoji of several parts."""
    text = "Zoë’s 电脑 👩\u200d💻\u00a0нoутбук"
    assert sent(Error(1, "internal", text)) == Error(1, "internal", text)


async def test_what_actors_say_reaches_a_client_escaped(node, client) -> None:
    """A session's message and view, the swarm's addresses, a refusal of the vault."""
    session = "0123456789abcdef"
    with trio.fail_after(30):
        await node.deliver_standing("swarm", SwarmStatus(PEER, (HOSTILE,), "p\x1b", "server", 3))
        await node.show_session(session, "proving", outcome="lost_contact", message=HOSTILE)
        (state,) = await client.sessions()
        status = await client.status()
        assert all(text.isprintable() for text in texts(state) + texts(status))
        assert "\\x1b" in state.message

        async with trio.open_nursery() as nursery:

            async def rename() -> None:
                with pytest.raises(ControlError) as refused:
                    await client.rename(bytes(16), "name")
                assert refused.value.message.isprintable()

            nursery.start_soon(rename)
            (asked,) = await node.next_step("RenameDevice")
            request = msgspec.msgpack.decode(asked.body)["request"]
            await node.deliver("vault", VaultError(request, "invalid_name", HOSTILE))
