"""One pairing with a device as it is stored: its fields, and the seal on its pairing secret.

The seal covers the other fields as associated data. So a secret cannot be moved to another record, and a
record whose fields were changed is noticed: its seal does not open, it counts as damaged, and it is never
used. Owns the fields and the seal. Pure but for the nonce; never runs SQL.
"""

import os
from typing import Annotated, Any, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from msgspec import Meta

from ...messages.errors import SpacedriveNodeError
from ...messages.to_gateway import Device, Fingerprint
from ...messages.types import Bytes16, Bytes32, DeviceName, PeerId, SessionId, ShortText
from ...protocol.identity import device_id

MAX_DECISION_BYTES = 512
"""Of a frame PairingDecision or DecisionReceived; an honest one has about 120."""
_NONCE_BYTES = 12
_SEAL_LABEL = b"spacedrive-node device secret 1"

DecisionFrame = Annotated[bytes, Meta(min_length=1, max_length=MAX_DECISION_BYTES)]


RecordState = Literal["unconfirmed", "paired", "replaced"]
"""unconfirmed  grants nothing: the peer's acknowledgement is missing
paired       in use
replaced     complete, but another pairing with the device is in use; kept some days to answer repeats"""


class DamagedRecordError(SpacedriveNodeError):
    """A row was changed or damaged since it was written."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pairing with a device, field by field as in its row. Times are Unix seconds.

    `generation` numbers all records in the order in which they were stored. `name` is the device's own,
    `label` the one that the user has given it here. `decision`, `expected_mac`,
    `peer_decision` and `reply` are what docs/protocol.md, "Settling", needs.
    """

    generation: int
    device_id: Bytes16
    state: RecordState
    session: SessionId
    th3: Bytes32
    peer: PeerId
    public_key: Bytes32
    name: DeviceName
    label: DeviceName | None
    os: ShortText
    app_version: ShortText
    fingerprint: Fingerprint
    stored_at: float
    paired_at: float | None
    replaced_at: float | None
    """When another pairing with the device took its place; None unless it is `replaced`."""
    order: int
    """Of a device's pairings that with the greatest order is in use (protocol/pairing_clock.py)."""
    decision: DecisionFrame
    expected_mac: Bytes32
    peer_decision: DecisionFrame
    reply: DecisionFrame
    secret: Annotated[bytes, Meta(max_length=128)] = b""
    """The pairing secret, sealed; :func:`unseal` opens it."""

    def __repr__(self) -> str:
        return f"Record({self.device_id.hex()}, generation={self.generation}, {self.state})"

    def as_device(self) -> Device:
        """Return what users see of the device."""
        return Device(
            device_id=self.device_id,
            name=self.label or self.name,
            os=self.os,
            peer=self.peer,
            public_key=self.public_key,
            state="unconfirmed" if self.state == "unconfirmed" else "paired",
            paired_at=self.stored_at if self.paired_at is None else self.paired_at,
            fingerprint=self.fingerprint,
        )


FIELDS = Record.__struct_fields__


def seal(record: Record, secret: bytes, storage_key: bytes) -> bytes:
    """Return the pairing secret sealed for exactly this record: 12-byte nonce, then ciphertext and tag."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + ChaCha20Poly1305(storage_key).encrypt(nonce, secret, _binding(record))


def unseal(record: Record, storage_key: bytes) -> bytes:
    """Return the pairing secret of a record. Raises DamagedRecordError."""
    nonce, sealed = record.secret[:_NONCE_BYTES], record.secret[_NONCE_BYTES:]
    try:
        return ChaCha20Poly1305(storage_key).decrypt(nonce, sealed, _binding(record))
    except (InvalidTag, ValueError):
        raise DamagedRecordError(record.device_id.hex()) from None


def load(row: tuple[Any, ...], storage_key: bytes) -> Record:
    """Return the record in a row (columns as FIELDS) once types and seal are checked.

    Raises DamagedRecordError.
    """
    try:
        record = msgspec.convert(dict(zip(FIELDS, row, strict=True)), Record)
    except msgspec.ValidationError:
        raise DamagedRecordError("a field") from None
    if device_id(record.public_key) != record.device_id:
        raise DamagedRecordError(record.device_id.hex())
    unseal(record, storage_key)
    return record


def _binding(record: Record) -> bytes:
    # All fields that never change while the record exists; state, label, paired_at and replaced_at do.
    return msgspec.msgpack.encode(
        (
            _SEAL_LABEL,
            record.device_id,
            record.generation,
            record.session,
            record.th3,
            record.peer,
            record.public_key,
            record.name,
            record.os,
            record.app_version,
            record.fingerprint,
            record.stored_at,
            record.order,
            record.decision,
            record.expected_mac,
            record.peer_decision,
            record.reply,
        )
    )
