"""Pairing protocol 2 on the wire (docs/protocol.md, "Messages"): shapes and canonical encoding only.

Each request and each response is one frame of at most 16 KiB on its own libp2p stream. The canonical
form is what this module's `encode` writes; `decode_wire` refuses everything that is not byte for byte so.
"""

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from .base import WIRE_LIMIT, Decoder, MalformedMessageError, Message, encode
from .types import Bytes16, Bytes32, Bytes64, DeviceName, ShortText

PROTOCOL_ID = "/spacedrive/pairing/2.0.0"

S = TypeVar("S", bound=msgspec.Struct)

Sealed = Annotated[bytes, Meta(min_length=16, max_length=2048)]
RefusalReason = Literal["unavailable", "busy", "protocol", "closed"]


class PairingRequest(Message):
    """J→I 1: opens an attempt."""

    v: Literal[2]
    code_id: Bytes16
    attempt: Bytes16
    eph: Bytes32
    commit: Bytes32


class Challenge(Message):
    """I→J 1: carries the initiator's proof."""

    code_id: Bytes16
    attempt: Bytes16
    eph: Bytes32
    nonce: Bytes32
    proof: Bytes32


class ChallengeResponse(Message):
    """J→I 2: the joiner's identity, sealed; opening it is the joiner's proof."""

    code_id: Bytes16
    attempt: Bytes16
    sealed: Sealed


class ChallengeConfirmation(Message):
    """I→J 2: the initiator's identity, sealed."""

    code_id: Bytes16
    attempt: Bytes16
    sealed: Sealed


class PairingDecision(Message):
    """Either side, 3: what its user decided, sealed."""

    code_id: Bytes16
    attempt: Bytes16
    sealed: Sealed


class DecisionReceived(Message):
    """Answer to PairingDecision."""

    code_id: Bytes16
    attempt: Bytes16
    mac: Bytes32


class Refused(Message):
    """Answer to anything; tells a stranger nothing."""

    code_id: Bytes16
    attempt: Bytes16
    reason: RefusalReason


WireRequest = PairingRequest | ChallengeResponse | PairingDecision
WireResponse = Challenge | ChallengeConfirmation | DecisionReceived | Refused
WireMessage = WireRequest | WireResponse


class DeviceInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a device says of itself. `nonce` is the joiner's commitment opened; absent for the initiator."""

    device_id: Bytes16
    name: DeviceName
    public_key: Bytes32
    os: ShortText
    app_version: ShortText
    nonce: Bytes32 | msgspec.UnsetType = msgspec.UNSET


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Plaintext of message 2: the frame of a DeviceInfo and the device key's signature."""

    info: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    signature: Bytes64


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Plaintext of message 3."""

    accepted: bool


_decode_any: Decoder[WireMessage] = Decoder(WireMessage)
_decode_info: Decoder[DeviceInfo] = Decoder(DeviceInfo)
_decode_identity: Decoder[Identity] = Decoder(Identity)
_decode_decision: Decoder[Decision] = Decoder(Decision)


def decode_wire(data: bytes) -> WireMessage:
    """Decode one frame; refuse any form but the canonical one. Raises MalformedMessageError."""
    if len(data) > WIRE_LIMIT:
        raise MalformedMessageError("frame exceeds 16 KiB")
    return _canonical(_decode_any(data), data)


def decode_device_info(data: bytes) -> DeviceInfo:
    """Decode the frame of a DeviceInfo. Raises MalformedMessageError."""
    return _canonical(_decode_info(data), data)


def decode_identity(data: bytes) -> Identity:
    """Decode the plaintext of message 2. Raises MalformedMessageError."""
    return _canonical(_decode_identity(data), data)


def decode_decision(data: bytes) -> Decision:
    """Decode the plaintext of message 3. Raises MalformedMessageError."""
    return _canonical(_decode_decision(data), data)


def _canonical(message: S, data: bytes) -> S:
    if encode(message) != data:
        raise MalformedMessageError("not in canonical form")
    return message
