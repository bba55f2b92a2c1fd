"""The libp2p TLS extension: the specification's vectors, this node's own certificate, and every key kind."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.pb import crypto_pb2
from libp2p.peer.id import ID

from spacedrive_node.actors.swarm.quic import certificates
from spacedrive_node.actors.swarm.quic.certificates import CertificateError, own_certificate, peer_of
from spacedrive_node.protocol.peer_ids import peer_id_text

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/certificates.json").read_text())["certificates"]
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
PREFIX = b"libp2p-tls-handshake:"
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_the_vectors_of_the_specification(vector: dict[str, str]) -> None:
    """Ed25519, ECDSA and secp256k1 name their peers; the one that another key has signed names none."""
    certificate = x509.load_der_x509_certificate(bytes.fromhex(vector["certificate"]))
    if vector["peer"] is None:
        with pytest.raises(CertificateError):
            peer_of(certificate)
    else:
        assert peer_id_text(peer_of(certificate)) == vector["peer"]


def test_the_own_certificate_proves_the_own_peer_id_at_any_time() -> None:
    """It holds no date that a wrong clock, here or there, makes invalid."""
    keys = create_new_key_pair(b"k" * 32)
    own = own_certificate(keys)
    for when in (NOW, NOW - 365 * 30 * DAY, NOW + 365 * 100 * DAY):
        assert peer_of(own.certificate, when) == ID.from_pubkey(keys.public_key).to_bytes()


def info(key: Any) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def made(
    kind: int,
    data: bytes,
    signature: bytes,
    *,
    key: Any = EC,
    digest: Any = hashes.SHA256(),  # noqa: B008, a value
    start: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + DAY,
    extension: bytes | None = None,
    more: tuple[Any, ...] = (),
    signer: Any = None,
) -> x509.Certificate:
    """A certificate with a SignedKey in it, or with any other extension."""
    public = crypto_pb2.PublicKey(key_type=kind, data=data).SerializeToString()
    value = certificates._signed_key(public, signature) if extension is None else extension
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(end)
        .public_key(key.public_key())
    )
    if value:
        builder = builder.add_extension(x509.UnrecognizedExtension(certificates.EXTENSION, value), False)
    for one in more:
        builder = builder.add_extension(one, critical=True)
    return builder.sign(signer or key, digest)


HOST = ed25519.Ed25519PrivateKey.generate()
DATA = HOST.public_key().public_bytes_raw()
SIGNATURE = HOST.sign(PREFIX + info(EC))


def test_rsa_and_other_curves_are_checked_too() -> None:
    """Whatever key the transport has, and whatever key the certificate has."""
    rsa_signature = RSA.sign(PREFIX + info(EC), padding.PKCS1v15(), hashes.SHA256())
    assert peer_of(made(0, info(RSA), rsa_signature))[:2] == b"\x12\x20"
    curve = ec.generate_private_key(ec.SECP384R1())
    assert peer_of(made(3, info(curve), curve.sign(PREFIX + info(EC), ec.ECDSA(hashes.SHA256()))))
    for key, digest in ((RSA, hashes.SHA256()), (HOST, None), (curve, hashes.SHA384())):
        assert peer_of(made(1, DATA, HOST.sign(PREFIX + info(key)), key=key, digest=digest))[6:] == DATA


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x")
SHORT_RSA = rsa.generate_private_key(65537, 1024)
K1 = ec.generate_private_key(ec.SECP256K1())
K1_SIGNATURE = K1.sign(PREFIX + info(EC), ec.ECDSA(hashes.SHA256()))
K1_LONG = K1.public_key().public_bytes(
    serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
)
SIGNED = certificates._signed_key(crypto_pb2.PublicKey(key_type=1, data=DATA).SerializeToString(), SIGNATURE)
SWAPPED = certificates._signed_key(b"\x12\x20" + DATA + b"\x08\x01", SIGNATURE)
BAD = {
    "expired": lambda: made(1, DATA, SIGNATURE, end=NOW - DAY / 2),
    "not yet": lambda: made(1, DATA, SIGNATURE, start=NOW + DAY / 2),
    "no extension": lambda: made(1, DATA, SIGNATURE, extension=b""),
    "garbage": lambda: made(1, DATA, SIGNATURE, extension=b"\x30\x03\x04\x01"),
    "trailing bytes": lambda: made(1, DATA, SIGNATURE, extension=SIGNED + b"\x00"),
    "fields in another order": lambda: made(1, DATA, SIGNATURE, extension=SWAPPED),
    "other key of the certificate": lambda: made(1, DATA, HOST.sign(PREFIX + info(RSA))),
    "signed by another": lambda: made(1, DATA, SIGNATURE, signer=ec.generate_private_key(ec.SECP256R1())),
    "kind that does not fit": lambda: made(3, DATA, SIGNATURE),
    "RSA that says ECDSA": lambda: made(3, info(RSA), b"x"),
    "unknown critical": lambda: made(1, DATA, SIGNATURE, more=(UNKNOWN,)),
    "short RSA": lambda: made(
        0, info(SHORT_RSA), SHORT_RSA.sign(PREFIX + info(EC), padding.PKCS1v15(), hashes.SHA256())
    ),
    "secp256k1, not compressed": lambda: made(2, K1_LONG, K1_SIGNATURE),
    "empty": lambda: made(1, b"", b""),
}


@pytest.mark.parametrize("how", BAD)
def test_everything_else_proves_nothing(how: str) -> None:
    """Each is an error of one type, whatever the parsers below raise."""
    with pytest.raises(CertificateError):
        peer_of(BAD[how]())
