"""The codec against an independent MessagePack implementation, and against hostile bytes."""

import contextlib
import inspect
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.messages import (
    base,
    child_protocol,
    control_protocol,
    peer_protocol,
    to_discovery,
    to_gateway,
    to_metrics,
    to_session,
    to_supervisor,
    to_swarm,
    to_vault,
)
from spacedrive_node.messages.base import (
    Decoder,
    FrameReader,
    MalformedMessageError,
    Message,
    encode,
    frame,
)
from spacedrive_node.tests.harness.message_unions import UNIONS, members


def _value(info: Any) -> st.SearchStrategy[Any]:
    i = msgspec.inspect
    match info:
        case i.IntType():
            return st.integers(info.ge or 0, info.le if info.le is not None else 2**63 - 1)
        case i.FloatType():
            return st.floats(info.ge or 0, info.le or 1e9, allow_nan=False)
        case i.StrType():
            if info.pattern:
                return st.from_regex(info.pattern, fullmatch=True).filter(lambda s: not s.endswith("\n"))
            return st.text(min_size=info.min_length or 0, max_size=min(info.max_length or 40, 40))
        case i.BytesType():
            low = info.min_length or 0
            return st.binary(min_size=low, max_size=min(info.max_length or low + 20, low + 20))
        case i.BoolType():
            return st.booleans()
        case i.NoneType():
            return st.none()
        case i.LiteralType():
            return st.sampled_from(info.values)
        case i.UnionType():
            return st.one_of(*[_value(t) for t in info.types if not isinstance(t, i.Metadata)])
        case i.VarTupleType():
            low = info.min_length or 0
            return st.lists(_value(info.item_type), min_size=low, max_size=max(low, 2)).map(tuple)
        case i.DictType():
            return st.dictionaries(_value(info.key_type), st.integers(0, 9), max_size=2)
        case i.StructType():
            fields = {f.name: _value(f.type) for f in info.fields}
            return st.fixed_dictionaries(fields).map(lambda d, c=info.cls: c(**d))
        case i.RawType():
            return st.just(msgspec.Raw(encode(child_protocol.Ready())))
        case i.CustomType() | i.AnyType():
            if getattr(info, "cls", None) is msgspec.Raw:
                return st.just(msgspec.Raw(encode(child_protocol.Ready())))
            raise AssertionError(info)
        case _:
            raise AssertionError(f"no strategy for {info!r}")


CASES = [
    pytest.param(cls, decoder, id=f"{name}-{cls.__name__}")
    for name, (union, decoder) in UNIONS.items()
    for cls in members(union)
]


@pytest.mark.parametrize(("cls", "decoder"), CASES)
@given(data=st.data())
def test_what_is_written_is_plain_messagepack_and_comes_back(
    cls: type[Message], decoder: Decoder[Any], data: st.DataObject
) -> None:
    """Every member of every union: the `msgpack` package reads it as a map, tag first, fields in order."""
    message = data.draw(_value(msgspec.inspect.type_info(cls)))
    encoded = encode(message)
    plain = msgpack.unpackb(encoded, raw=False, strict_map_key=True)
    fields = [name for name in cls.__struct_fields__ if getattr(message, name) is not msgspec.UNSET]
    assert list(plain) == ["t", *fields]
    assert plain["t"] == cls.__name__
    decoded = decoder(encoded)
    assert type(decoded) is cls
    assert encode(decoded) == encoded


@pytest.mark.parametrize(("cls", "decoder"), CASES)
@given(data=st.data())
def test_an_unknown_field_is_refused(cls: type[Message], decoder: Decoder[Any], data: st.DataObject) -> None:
    message = data.draw(_value(msgspec.inspect.type_info(cls)))
    plain = msgpack.unpackb(encode(message))
    plain["extra"] = 1
    with pytest.raises(MalformedMessageError):
        decoder(msgpack.packb(plain))


@pytest.mark.parametrize(("union", "decoder"), UNIONS.values(), ids=UNIONS)
@given(junk=st.binary(max_size=200))
def test_junk_raises_nothing_but_malformed_message(union: Any, decoder: Decoder[Any], junk: bytes) -> None:
    with contextlib.suppress(MalformedMessageError):
        decoder(junk)


def test_invalid_utf8_and_deep_nesting_are_malformed() -> None:
    """msgspec raises UnicodeDecodeError and RecursionError for these; callers see one type only."""
    bad_text = msgpack.packb({"t": "Log", "level": "info", "event": "x"}).replace(b"x", b"\xff")
    deep = b"\x91" * 100_000 + b"\xc0"
    for junk in (bad_text, deep):
        with pytest.raises(MalformedMessageError):
            child_protocol.decode_from_child(junk)


def test_messages_are_immutable_and_closed() -> None:
    """Every Struct of messages/ refuses unknown fields and cannot be changed."""
    modules = (
        control_protocol,
        child_protocol,
        to_discovery,
        to_gateway,
        to_metrics,
        to_session,
        to_supervisor,
        to_swarm,
    )
    for module in (*modules, to_vault, peer_protocol):
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, msgspec.Struct):
                assert cls.__struct_config__.frozen, cls
                assert cls.__struct_config__.forbid_unknown_fields or cls is Message, cls


@given(payloads=st.lists(st.binary(max_size=50), max_size=8), cuts=st.lists(st.integers(1, 20), max_size=50))
def test_frames_survive_any_cutting(payloads: list[bytes], cuts: list[int]) -> None:
    """However a stream is cut into chunks, the same frames come out."""
    stream = b"".join(frame(p, 100) for p in payloads)
    reader, out, at = FrameReader(100), [], 0
    for cut in [*cuts, len(stream) or 1]:
        reader.feed(stream[at : at + cut])
        at += cut
        while (payload := reader.next_frame()) is not None:
            out.append(payload)
    assert out == payloads
    assert reader.pending == 0


def test_an_oversized_length_is_refused_before_its_bytes_arrive() -> None:
    reader = FrameReader(100)
    reader.feed((101).to_bytes(4, "big"))
    with pytest.raises(MalformedMessageError):
        reader.next_frame()
    with pytest.raises(ValueError, match="exceeds the limit"):
        frame(b"x" * 101, 100)


def test_the_largest_messages_fit_their_frames() -> None:
    """The bounds of the fields add up to less than the bound of the frame that carries them."""
    device = to_gateway.Device(
        device_id=b"i" * 16, name="\U0001f600" * 64, os="\U0001f600" * 32, peer=b"p" * 64,
        public_key=b"k" * 32, state="unconfirmed", paired_at=1e18, fingerprint="0" * 16,
    )  # fmt: skip
    page = control_protocol.DeviceList(id=2**63 - 1, devices=(device,) * 64, more=True)
    assert len(encode(page)) < base.CONTROL_LIMIT
    state = control_protocol.SessionState(
        session="0" * 16, role="initiator", stage="searching", words="w" * 120, qr="q" * 2000,
        expires_in=1e9,
        device=control_protocol.ShownDevice(
            b"i" * 16, "\U0001f600" * 64, "\U0001f600" * 32, b"p" * 64, b"k" * 32
        ),
        check="000000", accepted=True, outcome="lost_contact", message="m" * 200, fingerprint="0" * 16,
        seconds=1.0, path="relayed",
    )  # fmt: skip
    # A node at its limit of sessions lists them in pages of this many (docs/interfaces.md).
    assert len(encode(state)) < base.CONTROL_LIMIT // 16
    sealed = peer_protocol.ChallengeResponse(b"c" * 16, b"a" * 16, b"s" * 2048)
    assert len(encode(sealed)) < base.WIRE_LIMIT
