"""The messages of pairing protocol 2 between two devices (docs/protocol.md, "Messages").

Each request and each response is one frame of at most 16 KiB on a libp2p stream. Owns the shapes and their
canonical encoding, which is what `encode` writes; `decode_wire` refuses every other form, because hashes
cover the bytes. Contains no cryptography. I is the initiator, J the joiner.
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
    """J to I, exchange 1: opens an attempt, with J's ephemeral key and its commitment to a nonce."""

    v: Literal[2]
    code_id: Bytes16
    attempt: Bytes16
    eph: Bytes32
    commit: Bytes32


class Challenge(Message):
    """I to J, the answer in exchange 1: I's ephemeral key, and its proof that it has the code."""

    code_id: Bytes16
    attempt: Bytes16
    eph: Bytes32
    nonce: Bytes32
    proof: Bytes32


class ChallengeResponse(Message):
    """J to I, exchange 2: J's Identity, sealed. That it opens is J's proof that it has the code."""

    code_id: Bytes16
    attempt: Bytes16
    sealed: Sealed


class ChallengeConfirmation(Message):
    """I to J, the answer in exchange 2: I's Identity, sealed."""

    code_id: Bytes16
    attempt: Bytes16
    sealed: Sealed


class PairingDecision(Message):
    """Either side, exchange 3: what its user decided, a Decision, sealed. The first is final."""

    code_id: Bytes16
    attempt: Bytes16
    sealed: Sealed


class DecisionReceived(Message):
    """The answer to PairingDecision, with a mac over the frame that was received."""

    code_id: Bytes16
    attempt: Bytes16
    mac: Bytes32


class Refused(Message):
    """The answer to any request. The reason tells a stranger nothing."""

    code_id: Bytes16
    attempt: Bytes16
    reason: RefusalReason


WireRequest = PairingRequest | ChallengeResponse | PairingDecision
WireResponse = Challenge | ChallengeConfirmation | DecisionReceived | Refused
WireMessage = WireRequest | WireResponse


class DeviceInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a device states about itself. J reveals the nonce to which it committed; I has none."""

    device_id: Bytes16
    name: DeviceName
    public_key: Bytes32
    os: ShortText
    app_version: ShortText
    nonce: Bytes32 | msgspec.UnsetType = msgspec.UNSET


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plaintext in exchange 2: the frame of a DeviceInfo, and the device key's signature."""

    info: Annotated[bytes, Meta(min_length=1, max_length=1024)]
    signature: Bytes64


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plaintext of PairingDecision."""

    accepted: bool


_decode_any: Decoder[WireMessage] = Decoder(WireMessage)
_decode_info: Decoder[DeviceInfo] = Decoder(DeviceInfo)
_decode_identity: Decoder[Identity] = Decoder(Identity)
_decode_decision: Decoder[Decision] = Decoder(Decision)


def decode_wire(data: bytes) -> WireMessage:
    """Return the message in one frame, which must be in canonical form. Raises MalformedMessageError."""
    if len(data) > WIRE_LIMIT:
        raise MalformedMessageError("frame exceeds 16 KiB")
    return _canonical(_decode_any(data), data)


def decode_device_info(data: bytes) -> DeviceInfo:
    """Return the DeviceInfo in its frame. Raises MalformedMessageError."""
    return _canonical(_decode_info(data), data)


def decode_identity(data: bytes) -> Identity:
    """Return the plaintext of exchange 2. Raises MalformedMessageError."""
    return _canonical(_decode_identity(data), data)


def decode_decision(data: bytes) -> Decision:
    """Return the plaintext of PairingDecision. Raises MalformedMessageError."""
    return _canonical(_decode_decision(data), data)


def _canonical(message: S, data: bytes) -> S:
    if encode(message) != data:
        raise MalformedMessageError("not in canonical form")
    return message
