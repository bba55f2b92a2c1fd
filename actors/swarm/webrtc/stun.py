"""STUN messages as ICE uses them (RFC 8489, RFC 8445), of the forms that WebRTC-direct needs.

A listener answers a binding request from what is in it alone: its password is the part of the user name that
belongs to it (libp2p specs, webrtc/webrtc-direct.md). So nothing is remembered of whoever asks. A dialer
asks, and knows its answers by the transaction id. Pure.
"""

import binascii
import hmac
import ipaddress
import os
from dataclasses import dataclass
from struct import Struct
from typing import Final

_COOKIE: Final = 0x2112A442
_HEADER: Final = Struct("!HHI12s")
_ATTRIBUTE: Final = Struct("!HH")
_REQUEST, _RESPONSE = 0x0001, 0x0101
_USERNAME, _MESSAGE_INTEGRITY, _XOR_MAPPED_ADDRESS, _PRIORITY, _USE_CANDIDATE = 0x06, 0x08, 0x20, 0x24, 0x25
_FINGERPRINT, _CONTROLLING = 0x8028, 0x802A
_DIGEST_BYTES, _INTEGRITY_BYTES, _FINGERPRINT_BYTES = 20, 24, 8
_FINGERPRINT_XOR: Final = 0x5354554E
_HOST_PRIORITY: Final = 126 << 24 | 65535 << 8 | 255
_MAX_MESSAGE_BYTES: Final = 1024
_MAX_NAME_BYTES: Final = 513
"""Of a user name: two fragments of at most 256 characters each (RFC 8839, 5.4)."""
_PREFIXES: Final = (b"libp2p+webrtc+v1/", b"libp2p+webrtc+v2/")
_RANDOM_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Request:
    """A binding request that is in order. `password` is that of the side which is asked."""

    transaction: bytes
    password: bytes


def is_stun(datagram: bytes) -> bool:
    """Return whether a datagram is STUN, by its first byte (RFC 7983)."""
    return datagram[0] < 4


def new_name() -> bytes:
    """Return the name and password of a new connection, the same for both sides."""
    return _PREFIXES[0] + binascii.hexlify(os.urandom(_RANDOM_BYTES))


def request(name: bytes, transaction: bytes) -> bytes:
    """Return the binding request of a dialer, whose path is the one that is used."""
    attributes = (
        _attribute(_USERNAME, name + b":" + name)
        + _attribute(_PRIORITY, _HOST_PRIORITY.to_bytes(4, "big"))
        + _attribute(_CONTROLLING, transaction[:8])
        + _attribute(_USE_CANDIDATE, b"")
    )
    return _sealed(_REQUEST, transaction, attributes, name)


def read_request(datagram: bytes) -> Request | None:
    """Return what a datagram asks, if it is a binding request of this protocol with a true password."""
    found = _read(datagram, _REQUEST)
    if found is None:
        return None
    transaction, name, integrity_at = found
    own, colon, _theirs = name.partition(b":")
    if not colon or not own.startswith(_PREFIXES) or not _is_true(datagram, integrity_at, own):
        return None
    return Request(transaction, own)


def response(asked: Request, host: str, port: int) -> bytes:
    """Return the answer, which tells the other side where it was seen. It is no longer than a request."""
    ip = ipaddress.ip_address(host)
    pad = _COOKIE.to_bytes(4, "big") + asked.transaction
    masked = bytes(a ^ b for a, b in zip(ip.packed, pad, strict=False))
    family = 1 if ip.version == 4 else 2
    mapped = bytes((0, family)) + (port ^ _COOKIE >> 16).to_bytes(2, "big") + masked
    return _sealed(_RESPONSE, asked.transaction, _attribute(_XOR_MAPPED_ADDRESS, mapped), asked.password)


def is_response_to(datagram: bytes, transaction: bytes, name: bytes) -> bool:
    """Return whether a datagram answers a request of this side."""
    found = _read(datagram, _RESPONSE)
    return found is not None and found[0] == transaction and _is_true(datagram, found[2], name)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _sealed(kind: int, transaction: bytes, attributes: bytes, password: bytes) -> bytes:
    header = _HEADER.pack(kind, len(attributes) + _INTEGRITY_BYTES, _COOKIE, transaction)
    digest = hmac.digest(password, header + attributes, "sha1")
    attributes += _attribute(_MESSAGE_INTEGRITY, digest)
    message = _HEADER.pack(kind, len(attributes) + _FINGERPRINT_BYTES, _COOKIE, transaction) + attributes
    checksum = binascii.crc32(message) ^ _FINGERPRINT_XOR
    return message + _attribute(_FINGERPRINT, checksum.to_bytes(4, "big"))


def _read(datagram: bytes, wanted: int) -> tuple[bytes, bytes, int] | None:
    """Return (transaction, user name, where the integrity is) of a message of one kind; None: it is not one.

    What comes after the integrity is not looked at, as RFC 8489 says.
    """
    if not _HEADER.size <= len(datagram) <= _MAX_MESSAGE_BYTES:
        return None
    kind, size, cookie, transaction = _HEADER.unpack_from(datagram)
    if kind != wanted or cookie != _COOKIE or size != len(datagram) - _HEADER.size or size % 4:
        return None
    name = b""
    at = _HEADER.size
    while at + _ATTRIBUTE.size <= len(datagram):
        attribute, length = _ATTRIBUTE.unpack_from(datagram, at)
        if attribute == _MESSAGE_INTEGRITY:
            is_whole = length == _DIGEST_BYTES and at + _INTEGRITY_BYTES <= len(datagram)
            return (transaction, name, at) if is_whole else None
        start = at + _ATTRIBUTE.size
        if attribute == _USERNAME and length <= _MAX_NAME_BYTES:
            name = datagram[start : start + length]
        at = start + length + -length % 4
    return None


def _is_true(datagram: bytes, at: int, password: bytes) -> bool:
    """Return whether the integrity at this place was made with a password."""
    size = at + _INTEGRITY_BYTES - _HEADER.size
    signed = datagram[:2] + size.to_bytes(2, "big") + datagram[4:at]
    start = at + _ATTRIBUTE.size
    return hmac.compare_digest(hmac.digest(password, signed, "sha1"), datagram[start : at + _INTEGRITY_BYTES])
