"""The Rust client's message types (clients/rust/src) say what the JSON Schema of the control protocol says.

Their source is read as text, so that this needs no Rust. What the client does is tested by `make test-rust`.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from spacedrive_node.client import control_connection, errors
from spacedrive_node.messages.base import CONTROL_LIMIT

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "clients" / "rust" / "src"
SCHEMA: dict[str, Any] = json.loads((ROOT / "docs" / "control-protocol.schema.json").read_text())["$defs"]
RECORDS = [
    "SessionState", "ShownDevice", "Device", "NodeStatus", "ActorInfo", "ReloadReport", "SettingChange",
    "SandboxGap",
]  # fmt: skip
CLOSED_LISTS = {
    "Role": ("SessionState", "role"),
    "Stage": ("SessionState", "stage"),
    "Outcome": ("SessionState", "outcome"),
    "DeviceState": ("Device", "state"),
    "ErrorCode": ("Error", "code"),
    "ReloadState": ("ReloadReport", "state"),
}
BYTES = {"Key": (16, 16), "DeviceId": (16, 16), "PublicKey": (32, 32), "PeerId": None, "Vec<u8>": None}


class Field(NamedTuple):
    """A field as it is declared, and whether a message may lack it."""

    type: str
    may_be_missing: bool


def source(name: str) -> str:
    """Return a file without its comments."""
    return re.sub(r"//.*", "", (SOURCE / f"{name}.rs").read_text())


def body(text: str, declaration: str) -> str:
    """Return what stands between the braces of a declaration."""
    begin = text.index("{", text.index(declaration)) + 1
    depth, position = 1, begin
    while depth:
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        position += 1
    return text[begin : position - 1]


def fields(text: str) -> dict[str, Field]:
    """Return the fields of a struct or variant. `Option` alone may be missing from what is read."""
    found = re.findall(r"^\s*((?:#\[.*\]\s*)*)(?:pub(?:\(crate\))? )?(\w+): (.+),$", text, re.MULTILINE)
    return {
        name: Field(type, "serde(default" in attributes or "skip_serializing_if" in attributes)
        for attributes, name, type in found
    }


def variants(union: str) -> dict[str, dict[str, Field]]:
    """Return the messages of a union with their fields."""
    text = body(source("messages"), f"enum {union} ")
    found = {name: fields(inner) for name, inner in re.findall(r"(\w+) \{([^}]*)\}", text)}
    for name in re.findall(r"^\s*(\w+)\(Box<\1>\),$", text, re.MULTILINE):
        found[name] = record(name)
    return found


def record(name: str) -> dict[str, Field]:
    return fields(body(source("messages"), f"pub struct {name} "))


def is_of(rust: str, schema: dict[str, Any]) -> bool:
    """Say whether a declared type holds what the schema describes."""
    if inner := re.fullmatch(r"Option<(.+)>", rust):
        if "anyOf" not in schema:  # left out, never nil
            return is_of(inner[1], schema)
        (present,) = [one for one in schema["anyOf"] if one != {"type": "null"}]
        return len(schema["anyOf"]) == 2 and is_of(inner[1], present)
    if "$ref" in schema:
        return rust in (name := schema["$ref"].rpartition("/")[2], f"Box<{name}>")
    if rust in BYTES:
        bounds = schema.get("x-minBytes"), schema.get("x-maxBytes")
        return schema.get("contentEncoding") == "binary" and BYTES[rust] in (None, bounds)
    if rust in CLOSED_LISTS:
        owner, name = CLOSED_LISTS[rust]
        return schema.get("enum") == values_of(SCHEMA[owner]["properties"][name])
    if inner := re.fullmatch(r"Vec<(.+)>", rust):
        return schema["type"] == "array" and is_of(inner[1], schema["items"])
    if rust == "SessionId":
        return schema.get("pattern") == "^[0-9a-f]{16}$"
    if "enum" in schema:
        return rust == "String"  # a closed list that this client hands on as text
    kinds = {"integer": ("u64", "i64"), "number": ("f64",), "boolean": ("bool",), "string": ("String",)}
    return rust in kinds[schema["type"]] and "contentEncoding" not in schema


def values_of(schema: dict[str, Any]) -> list[str]:
    return schema["enum"] if "enum" in schema else schema["anyOf"][0]["enum"]


def check(name: str, found: dict[str, Field], *, is_read: bool) -> None:
    """Compare with the schema. What the client reads may be missing exactly where the schema says so."""
    schema = SCHEMA[name]
    assert set(found) == set(schema["properties"]) - {"t"}
    for field, (rust, may_be_missing) in found.items():
        assert is_of(rust, schema["properties"][field]), (field, rust)
        is_required = field in schema["required"]
        assert not (is_required and may_be_missing), field
        assert is_required or may_be_missing or not is_read, field


@pytest.mark.parametrize("union", ["Request", "Reply"])
def test_each_message_is_one_of_the_protocol(union: str) -> None:
    """What only those ask who run a node may be missing: it is the commands'. A field may not."""
    named = {one["$ref"].rpartition("/")[2] for one in SCHEMA[union]["oneOf"]}
    spoken = set(variants(union))
    assert len(spoken) >= 8
    assert spoken <= named
    assert 'tag = "t"' in (SOURCE / "messages.rs").read_text()


@pytest.mark.parametrize("name", sorted(variants("Request")))
def test_a_request_has_the_fields_of_the_schema(name: str) -> None:
    """It may send a field always that may be left out, and may leave out none that must be there."""
    check(name, variants("Request")[name], is_read=False)


@pytest.mark.parametrize("name", sorted(variants("Reply")))
def test_a_reply_has_the_fields_of_the_schema(name: str) -> None:
    check(name, variants("Reply")[name], is_read=True)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_has_the_fields_of_the_schema(name: str) -> None:
    check(name, record(name), is_read=True)


@pytest.mark.parametrize("name", CLOSED_LISTS)
def test_a_closed_list_has_the_values_of_the_schema(name: str) -> None:
    text = body(source("closed_lists"), f" {name} ")
    owner, field = CLOSED_LISTS[name]
    assert sorted(re.findall(r'^\s*\w+ = "(\w+)",$', text, re.MULTILINE)) == sorted(
        values_of(SCHEMA[owner]["properties"][field])
    )


@pytest.mark.parametrize("path", sorted(SOURCE.parent.glob("*/*.rs")), ids=lambda path: path.name)
def test_modules_stay_readable(path: Path) -> None:
    """As those of Python: each says what it is for, and none grows past 400 lines."""
    text = path.read_text()
    assert text.startswith("//! ")
    assert len(text.splitlines()) <= 400


def test_the_bytes_of_ids_and_the_bounds_are_those_of_the_protocol() -> None:
    """A value beyond them would end the connection, and everything else that waits there."""
    declared = dict(re.findall(r"struct (\w+)\(.*\[u8; (\d+)\]\);", source("ids")))
    assert declared == {name: str(bounds[0]) for name, bounds in BYTES.items() if bounds is not None}
    client, connection = source("client"), source("connection")
    join, rename = SCHEMA["JoinPairing"]["properties"], SCHEMA["RenameDevice"]["properties"]
    start = SCHEMA["StartPairing"]["properties"]["lifetime"]["anyOf"][0]
    for text, expected in (
        (source("codec"), f"MAX_FRAME_BYTES: usize = {CONTROL_LIMIT};"),
        (client, f"MAX_CODE_CHARS: usize = {join['code']['maxLength']};"),
        (client, f"MAX_NAME_CHARS: usize = {rename['name']['maxLength']};"),
        (client, f"({join['timeout']['minimum']:.1f}..={join['timeout']['maximum']:.1f})"),
        (client, f"({start['minimum']:.1f}..={start['maximum']:.1f})"),
        (client, f"REPLY_TIMEOUT: Duration = Duration::from_secs({errors.REPLY_TIMEOUT_S:.0f});"),
        (client, f"MAX_OPEN_CALLS: usize = {control_connection._MAX_OPEN_CALLS};"),
        (connection, f"RECONNECT_TIMEOUT: Duration = Duration::from_secs({errors.RECONNECT_TIMEOUT_S:.0f});"),
    ):
        assert expected in text, expected
