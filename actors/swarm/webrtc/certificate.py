"""The certificate of a WebRTC listener, which its addresses name by its hash (/certhash).

It follows from the seed of the transport key, byte for byte, so that the addresses of a node stay the same
when its swarm is restarted. It proves nothing by itself: Noise does. A dialer makes a new one each time, so
that nobody on the way can tell by it who dials. Pure.
"""

import base64
import datetime
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PURPOSE: Final = b"spacedrive-node webrtc certificate"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256."""
_NOT_BEFORE: Final = datetime.datetime(1975, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(4096, 1, 1, tzinfo=datetime.UTC)
_SHA256_MULTIHASH: Final = b"\x12\x20"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> bytes:
        """The multihash by which the other side knows it."""
        return fingerprint_of(self.certificate.public_bytes(serialization.Encoding.DER))


def listener_certificate(seed: bytes) -> Certificate:
    """Return the certificate that belongs to the seed of a transport key, which it tells nothing about."""
    scalar = int.from_bytes(hmac.digest(seed, _PURPOSE, "sha512"), "big") % (_ORDER - 1) + 1
    return _signed(ec.derive_private_key(scalar, ec.SECP256R1()))


def dialer_certificate() -> Certificate:
    """Return a certificate for one connection."""
    return _signed(ec.generate_private_key(ec.SECP256R1()))


def _signed(key: ec.EllipticCurvePrivateKey) -> Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "WebRTC")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .public_key(key.public_key())
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return Certificate(certificate, key)


def fingerprint_of(der: bytes) -> bytes:
    """Return the multihash of a certificate."""
    return _SHA256_MULTIHASH + hashlib.sha256(der).digest()


def certhash(fingerprint: bytes) -> str:
    """Return a multihash as an address names it: multibase, base64url."""
    return "u" + base64.urlsafe_b64encode(fingerprint).rstrip(b"=").decode()


def fingerprint_named(text: str) -> bytes | None:
    """Return the multihash that an address names; None if it is not one of SHA-256."""
    try:
        found = base64.b64decode(text[1:] + "=" * (-len(text[1:]) % 4), b"-_", validate=True)
    except ValueError:
        return None
    return found if text[:1] == "u" and found[:2] == _SHA256_MULTIHASH and len(found) == 34 else None
