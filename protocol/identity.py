"""What a device states about itself: its device id, its name, and its signature.

The signature binds the statement to the peer id that the connection proved, to the role and to the
transcript, so it is worth nothing anywhere else. Implements docs/protocol.md, "Identity", as pure checks
and encodings; whatever a peer gets wrong is an IdentityError. Never signs: only the vault has private keys.
"""

from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ..messages.base import MalformedMessageError, encode
from ..messages.peer_protocol import DeviceInfo, decode_device_info
from ..messages.types import Role
from .errors import IdentityError, ProtocolError
from .keys import DEVICE_ID_LABEL, SIGNATURE_LABEL, equal, lp, sha256
from .names import check_name, check_text

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

MAX_SHORT_CHARACTERS: Final = 32
UNKNOWN: Final = "unknown"

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
"""Encodings, with the sign bit clear, of the eight points of order 1, 2, 4 or 8: their y as a little-endian
number. The last two are p and p + 1, other encodings of 0 and 1."""


def is_small_order(key: bytes) -> bool:
    """Return whether an Ed25519 public key is a point of order 1, 2, 4 or 8, in any of its encodings.

    Under such a key a signature can verify for many messages, so it would prove nothing.
    """
    return len(key) == 32 and key[:31] + bytes([key[31] & 0x7F]) in _SMALL_ORDER


def device_id(public_key: bytes) -> bytes:
    """Return the 16 bytes that name the device with this Ed25519 key; nobody can claim another's id."""
    return sha256(lp(DEVICE_ID_LABEL) + public_key)[:16]


def make_info(*, public_key: bytes, name: str, os: str, app_version: str, nonce: bytes | None) -> bytes:
    """Return the frame of this device's DeviceInfo; `nonce` (32 bytes) for a joiner, None for an initiator.

    An unknown `os` or `app_version` is given as "". Raises IdentityError when a rule is broken: better here
    than on the other side.
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
    decode_device_info(frame)  # checks the bounds of the types too
    return frame


def signing_input(role: Role, th: bytes, peer: bytes, info_frame: bytes) -> bytes:
    """Return the bytes that a device key signs.

    `role` and `peer` are those of the signer; `th` is th1 for a joiner and th2 for an initiator.
    """
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
    """Return the other device's DeviceInfo, with everything in it and its signature checked.

    `role` and `peer` are the *other* side's, `peer` as its connection proved it. `own_public_key` is this
    device's key; None where it is not known yet, and then the caller must compare it later. Raises
    IdentityError.
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
    check_text(info.os, MAX_SHORT_CHARACTERS, "os")
    check_text(info.app_version, MAX_SHORT_CHARACTERS, "app_version")
    if is_small_order(info.public_key):
        raise IdentityError("device key of small order")
    if not equal(info.device_id, device_id(info.public_key)):
        raise IdentityError("the device id does not belong to the device key")
