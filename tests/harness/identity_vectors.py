"""Identities that are right and ones that are nearly right, for tests/vectors and whoever reads them."""

import hashlib
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import DeviceInfo, decode_device_info
from spacedrive_node.messages.types import Role
from spacedrive_node.protocol.identity import device_id, make_info, signing_input

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
Point = tuple[int, int]


def decode_point(data: bytes) -> Point:
    """Decode a point of edwards25519 (RFC 8032, section 5.1.3)."""
    y = int.from_bytes(data, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (P - x if x & 1 != data[31] >> 7 else x), y


def encode_point(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P) % P,
    )


def multiply(factor: int, point: Point) -> Point:
    result = (0, 1)
    while factor:
        if factor & 1:
            result = add(result, point)
        point, factor = add(point, point), factor >> 1
    return result


def cofactored_only(seed: bytes, message: bytes) -> bytes:
    """Return a signature whose R has a part of order 8: it verifies with the cofactor and not without."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254
    base = decode_point(BASE_Y.to_bytes(32, "little"))
    public = encode_point(multiply(scalar, base))
    nonce = int.from_bytes(hashlib.sha512(digest[32:] + message).digest(), "little") % L
    commitment = encode_point(add(multiply(nonce, base), decode_point(ORDER_8)))
    challenge = int.from_bytes(hashlib.sha512(commitment + public + message).digest(), "little") % L
    return commitment + ((nonce + challenge * scalar) % L).to_bytes(32, "little")


def identities(seed: bytes, other_seed: bytes, peer: bytes, receiver_peer: bytes) -> dict[str, Any]:
    """Return identities with what their receiver knows; `peer` is the signer's peer id."""
    key, other = (Ed25519PrivateKey.from_private_bytes(one) for one in (seed, other_seed))
    public, receiver_key = (one.public_key().public_bytes_raw() for one in (key, other))
    th, nonce = hashlib.sha256(b"th" + seed).digest(), hashlib.sha256(b"nonce" + seed).digest()

    def info(role: Role = "joiner", **changes: Any) -> bytes:
        made = make_info(
            public_key=public,
            name="Other",
            os="Linux",
            app_version="0.1.0+7",
            nonce=nonce if role == "joiner" else None,
        )
        return encode(msgspec.structs.replace(decode_device_info(made), **changes))

    def entry(what: str, frame: bytes | None = None, role: Role = "joiner", **changes: Any) -> dict[str, Any]:
        frame = info(role) if frame is None else frame
        signature = key.sign(signing_input(role, th, peer, frame))
        values = {
            "what": what,
            "role": role,
            "th": th,
            "peer": peer,
            "info": frame,
            "signature": signature,
            "receiver_key": receiver_key,
            "receiver_peer": receiver_peer,
            **changes,
        }
        return {name: one.hex() if isinstance(one, bytes) else one for name, one in values.items()}

    def signed(frame: bytes, role: Role = "joiner", at: bytes = th, by: bytes = peer) -> bytes:
        return key.sign(signing_input(role, at, by, frame))

    good = info()
    right = signed(good)
    malleable = right[:32] + (int.from_bytes(right[32:], "little") + L).to_bytes(32, "little")
    small = b"\x01" + bytes(31)
    of_small = info(public_key=small, device_id=device_id(small))
    decoded: DeviceInfo = decode_device_info(good)
    return {
        "accepted": [entry("a joiner's"), entry("an initiator's", role="initiator")],
        "refused": [
            entry("the signature is for the other role", signature=signed(good, role="initiator")),
            entry("the signature is for another transcript", signature=signed(good, at=bytes(32))),
            entry("the signature is for another peer id", signature=signed(good, by=receiver_peer)),
            entry("the signature is by another key", signature=other.sign(b"")),
            entry("S is not reduced", signature=malleable),
            entry(
                "R has a part of small order: it verifies only with the cofactor",
                signature=cofactored_only(seed, signing_input("joiner", th, peer, good)),
            ),
            entry("a device key of small order", of_small, signature=small + bytes(32)),
            entry("the device id of another key", info(device_id=device_id(receiver_key))),
            entry("a joiner without nonce", info("initiator")),
            entry("an initiator with nonce", good, "initiator"),
            entry("the receiver's own device key", receiver_key=public),
            entry("the receiver's own peer id", receiver_peer=peer),
            entry("a blank name", info(name=" ")),
            entry("a name that turns the text", info(name="\u202eexe.gnp")),
            entry("an empty os", info(os="")),
            entry("an app version of 33 characters", info(app_version="1" * 33)),
            entry("a byte behind the info", good + b"\x00"),
            entry("a name in bytes", encode(decoded).replace(b"\xa5Other", b"\xc4\x05Other")),
        ],
    }
