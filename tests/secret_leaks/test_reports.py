"""Reports of crashes and the printed form of messages name types and places, and quote no value."""

import importlib
import inspect
import io
import os
import pkgutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from rich.console import Console

import spacedrive_node.actors
import spacedrive_node.messages
import spacedrive_node.protocol
from spacedrive_node.actors.session import state
from spacedrive_node.client.node_client import Code
from spacedrive_node.messages.base import MalformedMessageError
from spacedrive_node.messages.child_protocol import Log
from spacedrive_node.messages.secret_struct import SecretStruct
from spacedrive_node.protocol.code import derive, words_of
from spacedrive_node.protocol.errors import ProtocolError
from spacedrive_node.supervisor.actor_entry import crash_report
from spacedrive_node.tests.harness.secret_sweep import known_secrets
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch

ENTROPY = os.urandom(16)
SECRET = os.urandom(32)
WORDS = " ".join(words_of(ENTROPY))


@pytest.fixture
def search() -> SecretSearch:
    made = SecretSearch()
    known_secrets.add_code(made, ENTROPY)
    made.add("it", SECRET)
    return made


def undecodable() -> None:
    SECRET.decode("ascii")


def key_missing() -> None:
    {}[WORDS, SECRET]


def in_a_file_name() -> None:
    Path(f"/nowhere/{SECRET.hex()}/{WORDS}").read_bytes()


def assertion() -> None:
    raise AssertionError((WORDS, SECRET))


def with_notes() -> None:
    error = ValueError(WORDS)
    error.add_note(SECRET.hex())
    raise error


def in_a_group() -> None:
    raise ExceptionGroup(WORDS, [ValueError(SECRET), ExceptionGroup(WORDS, [KeyError(ENTROPY.hex())])])


def from_another() -> None:
    try:
        key_missing()
    except KeyError as cause:
        raise RuntimeError(SECRET.hex()) from cause


def while_handling() -> None:
    try:
        undecodable()
    except UnicodeDecodeError:
        key_missing()


def attribute() -> None:
    getattr(SECRET, "_".join(WORDS.split()))


def imported() -> None:
    importlib.import_module(WORDS.replace(" ", "_"))


def compiled() -> None:
    exec(compile(f"raise KeyError({WORDS!r})", "<string>", "exec"))


RAISERS = [
    undecodable, key_missing, in_a_file_name, assertion, with_notes, in_a_group, from_another, while_handling,
    attribute, imported, compiled,
]  # fmt: skip


def raised(by: Any) -> BaseException:
    try:
        by()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("raiser", RAISERS, ids=lambda raiser: raiser.__name__)
def test_no_exception_says_more_than_types_and_places(raiser: Any, search: SecretSearch) -> None:
    """Whatever stands in text, arguments, notes, causes and groups; a traceback would have had it."""
    error = raised(raiser)
    report = crash_report(error)
    said = repr((report.level, report.event, report.fields)).encode()
    assert search.find(said) == []
    assert not any(word in said.decode().split() for word in WORDS.split() if len(word) > 4)
    for name, value in report.fields.items():
        assert name.partition("_")[0] in ("error", "where")
        assert name.partition("_")[2] in ("", "second", "third", "fourth")
        assert isinstance(value, str)
        if name.startswith("where"):
            assert all(part.rpartition(":")[2].isdigit() for part in value.split(" < ") if part)
        else:
            assert all(type_.replace("_", "").replace(".", "").isalnum() for type_ in value.split(" from "))
    if raiser is not attribute and raiser is not imported:
        assert search.find("".join(traceback.format_exception(error)).encode() + repr(error).encode())


def test_errors_of_the_protocol_quote_nothing() -> None:
    """MalformedMessageError and ProtocolError come from bytes of peers."""
    for kind in (MalformedMessageError, ProtocolError):
        assert issubclass(kind, Exception)
    search = SecretSearch()
    search.add("it", SECRET)
    from spacedrive_node.messages.peer_protocol import decode_wire

    for data in (SECRET, msgspec.msgpack.encode({"t": "PairingRequest", "v": SECRET}), b"\xc4\x20" + SECRET):
        with pytest.raises(MalformedMessageError) as failure:
            decode_wire(data)
        assert search.find("".join(traceback.format_exception(failure.value)).encode()) == []


def structs() -> Iterator[type[msgspec.Struct]]:
    """Every struct that the product defines in its messages, its protocol and its actors."""
    for package in (spacedrive_node.messages, spacedrive_node.protocol, spacedrive_node.actors):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            module = importlib.import_module(found.name)
            for value in vars(module).values():
                if (
                    inspect.isclass(value)
                    and issubclass(value, msgspec.Struct)
                    and value.__module__ == found.name
                ):
                    yield value


STRUCTS = sorted(set(structs()), key=lambda kind: (kind.__module__, kind.__qualname__))


PUBLIC = {
    # What a device says of itself, to whoever has proved the code, and what is stored of it beside the seal.
    "Device", "DeviceInfo", "Identity", "SeenDevice", "ShownDevice", "Acceptance", "Record",
    # Peers, their addresses, transcript hashes; ids and slots of envelopes; metrics.
    "Confirmation", "RecordedEffect", "EvidenceOfSession", "SignedTranscript", "Outgoing", "PeerAddresses",
    "Registration", "_Checkpoint", "PeerReport", "RememberedPeer",
    # What stands in the clear in a sealed file, and what is sealed.
    "Header", "SealedFile",
}  # fmt: skip
"""Structs that may print their bytes: none of these is a secret."""


CODES = {"VaultError"}
"""Their `code` is of an error."""


def takes(kind: Any) -> set[Any]:
    """The plain types that a field may hold."""
    if get_origin(kind) is Literal:
        return {Literal}
    parts = get_args(kind)
    return set().union(*map(takes, parts)) if parts else {kind}


def filled(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """One of this kind with a secret in each field that takes bytes or words; nothing checks the others."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=False).items():
        if name not in kind.__struct_fields__:
            continue
        there = takes(hint)
        if msgspec.Raw in there:
            values[name] = msgspec.Raw(SECRET)
        elif bytes in there:
            values[name] = SECRET
        else:
            of_a_code = name in ("words", "qr", "code") and kind.__qualname__ not in CODES
            values[name] = WORDS if of_a_code and str in there else None
    return kind(**values)


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_no_struct_shows_bytes_or_words_when_printed(
    kind: type[msgspec.Struct], search: SecretSearch
) -> None:
    """Neither repr, nor str, nor an exception or a group that holds it, nor what rich makes of it."""
    one = filled(kind)
    if kind.__qualname__ in PUBLIC:
        return
    out = io.StringIO()
    Console(file=out, width=400).print(one)
    for text in (repr(one), str(one), f"{one}", repr([one]), repr(ValueError(one)), out.getvalue()):
        assert search.find(text.encode()) == [], text


def test_the_list_of_structs_is_not_empty() -> None:
    """It has those that hold most."""
    names = {kind.__qualname__ for kind in STRUCTS}
    assert {
        "SwarmIdentity",
        "PairingSecrets",
        "JoinerAttempt",
        "Session",
        "IdentitySecrets",
        "Step",
        "Start",
    } <= names
    assert len(STRUCTS) > 100
    assert issubclass(state.Session, msgspec.Struct)
    assert issubclass(SecretStruct, msgspec.Struct)


def test_what_a_code_is_held_in_shows_nothing(search: SecretSearch) -> None:
    """The client's and the protocol's."""
    for one in (Code(tuple(WORDS.split()), WORDS, 1.0), derive(ENTROPY)):
        assert search.find(f"{one} {one!r} {[one]}".encode()) == []


def test_a_log_line_has_no_room_for_bytes() -> None:
    """The type of its fields takes none."""
    data = msgspec.msgpack.encode({"t": "Log", "level": "info", "event": "x", "fields": {"key": SECRET}})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(data, type=Log)
