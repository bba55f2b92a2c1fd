"""Vouchers: by which a relay signs that it has granted a reservation (libp2p specs, RFC 0002 and circuit-v2).

A voucher that is there has to be right; none is no mistake, because rust-libp2p's relay gives none. Pure.
"""

from typing import Any, Final

from google.protobuf.message import DecodeError
from libp2p.crypto.keys import PrivateKey
from libp2p.peer.envelope import Envelope, make_unsigned, unmarshal_envelope
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import Voucher

from ....messages.errors import SpacedriveNodeError

_DOMAIN: Final = "libp2p-relay-rsvp"
_PAYLOAD_TYPE: Final = b"\x03\x02"
MAX_VOUCHER_BYTES: Final = 1024


class VoucherError(SpacedriveNodeError):
    """The voucher is not one of this relay for this node."""


def sign_voucher(key: PrivateKey, relay: bytes, peer: bytes, expires_unix: int) -> bytes:
    """Return the voucher of the relay with this key for `peer`."""
    voucher: Any = Voucher(relay=relay, peer=peer, expiration=expires_unix)
    payload = bytes(voucher.SerializeToString())
    signature = key.sign(make_unsigned(_DOMAIN, _PAYLOAD_TYPE, payload))
    return bytes(Envelope(key.get_public_key(), _PAYLOAD_TYPE, payload, signature).marshal_envelope())


def check_voucher(data: bytes, relay: bytes, peer: bytes) -> None:
    """Raise VoucherError unless `data` is signed by the relay and names it and `peer`."""
    if len(data) > MAX_VOUCHER_BYTES:
        raise VoucherError("too large")
    voucher: Any = Voucher()
    try:
        envelope = unmarshal_envelope(data)
        envelope.validate(_DOMAIN)
        signer = ID.from_pubkey(envelope.public_key).to_bytes()
        voucher.ParseFromString(bytes(envelope.raw_payload))
    except DecodeError:
        raise VoucherError("no voucher") from None
    except Exception:  # the library raises many unrelated types for a key or signature that is wrong
        raise VoucherError("not signed") from None
    if bytes(envelope.payload_type) != _PAYLOAD_TYPE or signer != relay:
        raise VoucherError("signed by another, or for something else")
    if bytes(voucher.relay) != relay or bytes(voucher.peer) != peer:
        raise VoucherError("for another")
