"""Who a device says it is: device ids, the rules for names, and the signature that binds them to a peer.

Pure checks and encodings of docs/protocol.md, "Identity". Never signs: private keys are the vault's alone.
Everything that a peer can get wrong here is an IdentityError.
"""

import unicodedata
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ..messages.base import MalformedMessageError, encode
from ..messages.peer_protocol import DeviceInfo, decode_device_info
from ..messages.types import Role
from .errors import IdentityError, ProtocolError
from .keys import DEVICE_ID_LABEL, SIGNATURE_LABEL, equal, lp, sha256

__all__ = [
    "IdentityError",
    "ProtocolError",
    "check_name",
    "check_text",
    "device_id",
    "is_small_order",
    "make_info",
    "signing_input",
    "verify",
]

NAME_LIMIT: Final = 64
SHORT_LIMIT: Final = 32
UNKNOWN: Final = "unknown"

_FORBIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_VISIBLE = frozenset("LNPS")
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols by category that are drawn as nothing."""

_SMALL_ORDER = frozenset(
    bytes.fromhex(y)
    for y in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""y of the eight points of order 1, 2, 4, 8: little-endian, sign bit clear; also p and p + 1 for 0 and 1."""


def is_small_order(key: bytes) -> bool:
    """Tell whether an Ed25519 public key is a point of order 1, 2, 4 or 8, in any of its encodings."""
    return len(key) == 32 and key[:31] + bytes([key[31] & 0x7F]) in _SMALL_ORDER


def device_id(public_key: bytes) -> bytes:
    """Return the 16 bytes that name the device with this Ed25519 key. Nobody can claim another's."""
    return sha256(lp(DEVICE_ID_LABEL) + public_key)[:16]


def check_text(text: str, limit: int, what: str) -> None:
    """Check a text field of a DeviceInfo; `limit` counts code points. Raises IdentityError naming `what`."""
    if not 1 <= len(text) <= limit:
        raise IdentityError(f"{what} must have 1 to {limit} characters")
    for char in text:
        if unicodedata.category(char) in _FORBIDDEN:
            raise IdentityError(f"{what} contains a control, invisible or unassigned character")
    if not unicodedata.is_normalized("NFC", text):
        raise IdentityError(f"{what} is not in normalization form C")
    if not any(unicodedata.category(char)[0] in _VISIBLE and char not in _FILLERS for char in text):
        raise IdentityError(f"{what} is blank")


def check_name(text: str) -> None:
    """Check a device name: 1 to 64 code points, NFC, nothing invisible, not blank. Raises IdentityError."""
    check_text(text, NAME_LIMIT, "name")


def make_info(*, public_key: bytes, name: str, os: str, app_version: str, nonce: bytes | None) -> bytes:
    """Return the frame of this device's own DeviceInfo; `nonce` for a joiner only.

    An unknown `os` or `app_version` may be given as "". Raises IdentityError when a rule is broken, so that a
    bad name fails here and not on the other side.
    """
    info = DeviceInfo(
        device_id=device_id(public_key),
        name=name,
        public_key=public_key,
        os=os or UNKNOWN,
        app_version=app_version or UNKNOWN,
        nonce=msgspec.UNSET if nonce is None else nonce,
    )
    _check_info(info)
    frame = encode(info)
    decode_device_info(frame)
    return frame


def signing_input(role: Role, th: bytes, peer: bytes, info_frame: bytes) -> bytes:
    """Return what a device key signs; `th` is th1 for a joiner and th2 for an initiator."""
    return lp(SIGNATURE_LABEL) + lp(role.encode("ascii")) + lp(th) + lp(peer) + lp(info_frame)


def verify(
    role: Role,
    th: bytes,
    peer: bytes,
    info_frame: bytes,
    signature: bytes,
    *,
    own_public_key: bytes | None,
    own_peer: bytes,
) -> DeviceInfo:
    """Check all that the other device says of itself, and that its key signed it. Raises IdentityError.

    `role` and `peer` are the *other* side's, `peer` as its connection proved it. `own_public_key` is this
    device's key; None only where it is not known yet, and then it must be compared later.
    """
    try:
        info = decode_device_info(info_frame)
    except MalformedMessageError:
        raise IdentityError("device info is malformed") from None
    _check_info(info)
    if (info.nonce is msgspec.UNSET) != (role == "initiator"):
        raise IdentityError("the joiner, and only the joiner, reveals a nonce")
    if equal(peer, own_peer):
        raise IdentityError("the other side has this node's own peer id")
    if own_public_key is not None and equal(info.public_key, own_public_key):
        raise IdentityError("the other side shows this device's own key")
    try:
        Ed25519PublicKey.from_public_bytes(info.public_key).verify(
            signature, signing_input(role, th, peer, info_frame)
        )
    except (InvalidSignature, ValueError):
        raise IdentityError("the signature is not by the device's key") from None
    return info


def _check_info(info: DeviceInfo) -> None:
    check_name(info.name)
    check_text(info.os, SHORT_LIMIT, "os")
    check_text(info.app_version, SHORT_LIMIT, "app_version")
    if is_small_order(info.public_key):
        raise IdentityError("device key of small order")
    if not equal(info.device_id, device_id(info.public_key)):
        raise IdentityError("the device id does not belong to the device key")
