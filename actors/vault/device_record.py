"""One device record: its fields, and the seal that ties its secret to them.

Pure. A record whose seal does not open with the fields that stand beside it is damaged, and is never used.
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

DECISION_LIMIT = 512
"""Bytes of a frame of the ending; an honest one has about 120."""
_NONCE = 12
_LABEL = b"spacedrive-node device secret 1"

EndingFrame = Annotated[bytes, Meta(min_length=1, max_length=DECISION_LIMIT)]


RecordState = Literal["unconfirmed", "paired", "replaced"]
"""`replaced`: complete, but not the one in use any more; kept a while to answer for."""


class DamagedRecordError(SpacedriveNodeError):
    """A row is not what was written."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pairing with a device, as its row holds it. Times are Unix seconds."""

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
    order: int
    """Among pairings with this device, the same on both sides (protocol/pairing_clock.py)."""
    decision: EndingFrame
    expected_mac: Bytes32
    peer_decision: EndingFrame
    reply: EndingFrame
    secret: Annotated[bytes, Meta(max_length=128)] = b""
    """Sealed; open it with :func:`unseal`."""

    def __repr__(self) -> str:
        return f"Record({self.device_id.hex()}, generation={self.generation}, {self.state})"

    def shown(self) -> Device:
        """Return what users see of it."""
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
    """Seal the pairing secret for exactly this record."""
    nonce = os.urandom(_NONCE)
    return nonce + ChaCha20Poly1305(storage_key).encrypt(nonce, secret, _binding(record))


def unseal(record: Record, storage_key: bytes) -> bytes:
    """Return the pairing secret. Raises DamagedRecordError."""
    nonce, sealed = record.secret[:_NONCE], record.secret[_NONCE:]
    try:
        return ChaCha20Poly1305(storage_key).decrypt(nonce, sealed, _binding(record))
    except (InvalidTag, ValueError):
        raise DamagedRecordError(record.device_id.hex()) from None


def load(row: tuple[Any, ...], storage_key: bytes) -> Record:
    """Make a record of a row (columns as FIELDS), checked in full. Raises DamagedRecordError."""
    try:
        record = msgspec.convert(dict(zip(FIELDS, row, strict=True)), Record)
    except msgspec.ValidationError:
        raise DamagedRecordError("a field") from None
    if device_id(record.public_key) != record.device_id:
        raise DamagedRecordError(record.device_id.hex())
    unseal(record, storage_key)
    return record


def _binding(record: Record) -> bytes:
    # Everything that never changes in a record's life; state, label and paired_at do.
    return msgspec.msgpack.encode(
        (
            _LABEL,
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
