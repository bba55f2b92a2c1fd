"""Certificates by which two peers prove their peer ids in TLS (libp2p specs, tls/tls.md).

A certificate is self-signed with a key of its own and carries, in an extension, the transport key and its
signature over the certificate's key. Owns the making of this node's certificate and the check of a peer's;
every key kind is checked with `cryptography`, whatever the library can do. Never compares the peer id with
the one that was dialled: connection.py does.
"""

import datetime
import hashlib
from dataclasses import dataclass
from typing import Any, Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtensionOID
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.pb import crypto_pb2

from ....messages.errors import SpacedriveNodeError

EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
_PREFIX: Final = b"libp2p-tls-handshake:"
_NOT_BEFORE: Final = datetime.datetime(1975, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(4096, 1, 1, tzinfo=datetime.UTC)
"""So far apart that the certificate is valid whatever the clocks of both sides say."""
_UNDERSTOOD: Final = {
    EXTENSION,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
}
"""Extensions that may be critical."""
_MIN_DIGEST_BYTES: Final = 32
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
_MAX_INLINE_KEY_BYTES: Final = 42
"""A key of at most this size is its own peer id (libp2p specs, peer-ids)."""
_RSA, _ED25519, _SECP256K1, _ECDSA = range(4)
"""Key types of the protobuf PublicKey."""


class CertificateError(SpacedriveNodeError):
    """The certificate proves no peer id. The text is short and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """This node's certificate and its private key, made anew at each start of the swarm."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def own_certificate(keys: KeyPair) -> OwnCertificate:
    """Make a certificate that proves the peer id of a transport key."""
    key = ec.generate_private_key(ec.SECP256R1())
    signature = keys.private_key.sign(_PREFIX + _key_info(key.public_key()))
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .public_key(key.public_key())
        .add_extension(
            x509.UnrecognizedExtension(EXTENSION, _signed_key(keys.public_key.serialize(), signature)),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return OwnCertificate(certificate, key)


def peer_of(certificate: x509.Certificate, now: datetime.datetime | None = None) -> bytes:
    """Return the binary peer id that a certificate proves. Raises CertificateError."""
    try:
        _check_certificate(certificate, now or datetime.datetime.now(datetime.UTC))
        serialized, signature = _read_signed_key(_extension(certificate))
        _check_signature(serialized, signature, _PREFIX + _key_info(certificate.public_key()))
    except CertificateError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise CertificateError(f"certificate: {type(error).__name__}") from None
    return _peer_id(serialized)


def _check_certificate(certificate: x509.Certificate, now: datetime.datetime) -> None:
    """Check what the specification demands of the certificate itself."""
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise CertificateError("certificate is not valid at this time")
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.digest_size < _MIN_DIGEST_BYTES:
        raise CertificateError("certificate is signed with a short digest")
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        _check_rsa_size(key)
    certificate.verify_directly_issued_by(certificate)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise CertificateError("certificate has a critical extension that is unknown here")


def _extension(certificate: x509.Certificate) -> bytes:
    for extension in certificate.extensions:
        if extension.oid == EXTENSION:
            return cast(x509.UnrecognizedExtension, extension.value).value
    raise CertificateError("certificate names no peer")


def _check_signature(serialized: bytes, signature: bytes, message: bytes) -> None:
    """Check a signature by a transport key, given as the protobuf PublicKey. Raises InvalidSignature too."""
    kind, data = _read_public_key(serialized)
    if kind == _ED25519:
        ed25519.Ed25519PublicKey.from_public_bytes(data).verify(signature, message)
        return
    if kind == _SECP256K1:
        if len(data) != 33:
            raise CertificateError("transport key is not compressed")
        curve_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data)
        curve_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return
    key = serialization.load_der_public_key(data)
    if _key_info(key) != data:  # one key must have one peer id
        raise CertificateError("transport key is not in its canonical form")
    if kind == _ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    elif kind == _RSA and isinstance(key, rsa.RSAPublicKey):
        _check_rsa_size(key)
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    else:
        raise CertificateError("transport key is of another kind than it says")


def _check_rsa_size(key: rsa.RSAPublicKey) -> None:
    if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise CertificateError("RSA key is too short or too long")


def _read_public_key(serialized: bytes) -> tuple[int, bytes]:
    """Return kind and data of a protobuf PublicKey in its canonical form."""
    message = crypto_pb2.PublicKey()
    try:
        message.ParseFromString(serialized)
    except Exception:  # the parser's exceptions have no common type of its own
        raise CertificateError("transport key cannot be read") from None
    if message.SerializeToString() != serialized or not message.IsInitialized():
        raise CertificateError("transport key is not in its canonical form")
    return int(message.key_type), bytes(message.data)


def _peer_id(serialized: bytes) -> bytes:
    """Return the multihash that is the peer id of a key (libp2p specs, peer-ids)."""
    if len(serialized) <= _MAX_INLINE_KEY_BYTES:
        return bytes((0, len(serialized))) + serialized
    return b"\x12\x20" + hashlib.sha256(serialized).digest()


def _key_info(key: Any) -> bytes:
    """Return the SubjectPublicKeyInfo of a key, in DER."""
    return bytes(
        key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


# SignedKey ::= SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }, in DER.

_SEQUENCE, _OCTET_STRING = 0x30, 0x04


def _signed_key(serialized: bytes, signature: bytes) -> bytes:
    return _der(_SEQUENCE, _der(_OCTET_STRING, serialized) + _der(_OCTET_STRING, signature))


def _read_signed_key(data: bytes) -> tuple[bytes, bytes]:
    """Return key and signature. Raises CertificateError if `data` is not exactly a SignedKey."""
    content, rest = _read_der(data, _SEQUENCE)
    serialized, more = _read_der(content, _OCTET_STRING)
    signature, end = _read_der(more, _OCTET_STRING)
    if rest or end:
        raise CertificateError("extension has bytes too many")
    return serialized, signature


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _read_der(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the content of the first value, which must have this tag, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise CertificateError("extension cannot be read")
    size, start = data[1], 2
    if size >= 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if start > 4 or start + size > len(data) or _der(tag, data[start : start + size]) != data[: start + size]:
        raise CertificateError("extension cannot be read")
    return data[start : start + size], data[start + size :]
