"""docs/control-protocol.md and its JSON Schema say what the message types say."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from spacedrive_node.actors.gateway import actor, client_connection, handlers, node_state, session_store
from spacedrive_node.actors.vault import device_store
from spacedrive_node.client import errors
from spacedrive_node.messages.base import CONTROL_LIMIT
from spacedrive_node.messages.control_protocol import ErrorCode, Reply, Request
from spacedrive_node.messages.control_schema import json_schema, with_messages

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
DOCUMENT = (DOCS / "control-protocol.md").read_text()
MESSAGES = [*get_args(Request), *get_args(Reply)]


def test_the_document_and_the_schema_are_those_of_the_types() -> None:
    """Else: make control-protocol."""
    assert with_messages(DOCUMENT) == DOCUMENT
    assert json.loads((DOCS / "control-protocol.schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_each_message_and_each_field_is_in_both(message: type[msgspec.Struct]) -> None:
    """Counted here from the types themselves, not by the generator."""
    section = re.search(rf"^### {message.__name__}\n(.*?)(?=^##|\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
    assert section is not None
    schema = json_schema()["$defs"][message.__name__]
    assert schema["properties"]["t"] == {"const": message.__name__}
    assert set(schema["properties"]) == {"t", *message.__struct_fields__}
    for field in message.__struct_fields__:
        assert f"- `{field}`: " in section[1]


def test_each_code_and_each_limit_is_in_the_document() -> None:
    """What a client meets beside the fields: error codes, and how much is too much."""
    for code in get_args(ErrorCode):
        assert f"| `{code}` |" in DOCUMENT
    prose = DOCUMENT.partition("<!--")[0]
    for limit in (
        f"{CONTROL_LIMIT} bytes",
        f"{client_connection.MAX_OPEN_REQUESTS} requests",
        f"{node_state.MIN_SUBSCRIPTIONS} subscriptions",
        f"{actor.MAX_CLIENTS} connections",
        f"{client_connection._WRITE_TIMEOUT_SECONDS:.0f} s in which",
        f"the last {session_store.MAX_ENDED_SESSIONS} that ended",
        f"the last {device_store.MAX_JOURNAL_ROWS}",
        f"{handlers._MAX_LISTED_SESSIONS}\nat most",
        f"waited for {errors.REPLY_TIMEOUT_S:.0f} s",
        f"for {errors.RECONNECT_TIMEOUT_S:.0f} s, the node is gone",
    ):
        assert limit in prose, limit


def test_a_bound_of_a_field_is_in_both() -> None:
    """A sample of each kind of bound, as a reader needs it."""
    schema: dict[str, Any] = json_schema()["$defs"]
    assert schema["JoinPairing"]["properties"]["code"] == {"type": "string", "maxLength": 4096}
    assert schema["Decide"]["properties"]["key"]["x-maxBytes"] == 16
    assert schema["DeviceList"]["properties"]["devices"]["maxItems"] == 64
    assert schema["JoinPairing"]["properties"]["timeout"] == {
        "type": "number", "minimum": 1, "maximum": 3600, "default": 60.0,
    }  # fmt: skip
    assert schema["Subscribe"]["required"] == ["t", "id"]
    for line in (
        "`code`: text, 0 to 4096 characters",
        "`key`: binary of 16 bytes",
        "`devices`: array of at most 64",
        "`timeout`: number, 1 to 3600; `60.0` if left out",
    ):
        assert line in DOCUMENT
