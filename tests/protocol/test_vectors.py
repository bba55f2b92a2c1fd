"""The files in tests/vectors, against this package and against a second implementation."""

import hashlib

import base58

from spacedrive_node.messages.base import MalformedMessageError
from spacedrive_node.messages.peer_protocol import decode_device_info, decode_wire
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol import code, identity
from spacedrive_node.protocol.identity import IdentityError
from spacedrive_node.protocol.pairing_clock import order_of_pairing
from spacedrive_node.tests.harness import identity_vectors as points

TREZOR = {
    "00000000000000000000000000000000": "abandon " * 11 + "about",
    "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f": "legal winner thank year wave sausage worth useful "
    "legal winner thank yellow",
    "9e885d952ad362caeb4efe34a8e91bd2": "ozone drill grab fiber curtain grace "
    "pudding thank cruise elder eight picnic",
}
"""From the test vectors of BIP-39 itself."""


def _refused(check, value, error):
    try:
        check(value)
    except error:
        return True
    return False


def test_files_are_what_the_generator_writes(generator, vectors):
    """A change of any byte of the protocol shows here: the files must be regenerated on purpose."""
    for name, content in generator.build().items():
        assert vectors(name) == content, name


def test_codes_agree_with_the_second_implementation(reference, vectors):
    """Words and every key made from them come out the same by bits, hmac and hashlib alone."""
    for entry in vectors("code.json"):
        assert reference.code(bytes.fromhex(entry["entropy"]), code.WORDS) == entry


def test_runs_agree_with_the_second_implementation(reference, vectors):
    """Every frame, hash, key, signature and digit is reproduced by libsodium, msgpack and hand-made HKDF."""
    runs = vectors("run.json")
    assert len(runs) == 3
    for run in runs:
        assert reference.run(run["title"], run["inputs"]) == run


def test_codes_agree_with_bip39(vectors):
    """Known mnemonics of the standard, so that no private word list has crept in."""
    words = {entry["entropy"]: entry["words"] for entry in vectors("code.json")}
    assert {entropy: words[entropy] for entropy in TREZOR} == TREZOR


def test_qr_texts_read_back(vectors):
    """A QR text gives its code, peer and addresses; base58 is that of the base58 package."""
    for entry in vectors("qr.json"):
        peer = bytes.fromhex(entry["peer"])
        assert base58.b58encode(peer).decode() == entry["peer_text"]
        expected = (bytes.fromhex(entry["entropy"]), (PeerAddresses(peer, tuple(entry["addresses"])),))
        assert code.parse_code(entry["text"]) == expected


def test_refused_frames_are_refused(vectors):
    """Long forms, other orders, duplicates, unknown fields, trailing bytes: none of them decodes."""
    for entry in vectors("refused-frames.json"):
        assert _refused(decode_wire, bytes.fromhex(entry["frame"]), MalformedMessageError), entry["what"]


def test_names(vectors):
    """Each listed name is accepted or refused as the file says."""
    for entry in vectors("names.json")["accepted"]:
        identity.check_name(entry["name"])
    for entry in vectors("names.json")["refused"]:
        assert _refused(identity.check_name, entry["name"], IdentityError), entry["what"]


def test_identities(vectors):
    """Each listed Identity is accepted or refused as the file says, each refused one for one reason."""

    def check(entry):
        raw = {name: bytes.fromhex(entry[name]) for name in entry if name not in ("what", "role")}
        identity.verify(
            entry["role"],
            raw["th"],
            raw["peer"],
            raw["info"],
            raw["signature"],
            own_public_key=raw["receiver_key"],
            own_peer=raw["receiver_peer"],
        )

    for entry in vectors("identities.json")["accepted"]:
        check(entry)
    for entry in vectors("identities.json")["refused"]:
        assert _refused(check, entry, IdentityError), entry["what"]


def test_a_signature_that_only_the_cofactor_saves_is_what_it_says(vectors):
    """The vector tells strict from cofactored verification: eight times its equation holds."""
    entry = next(one for one in vectors("identities.json")["refused"] if "cofactor" in one["what"])
    info, signature = bytes.fromhex(entry["info"]), bytes.fromhex(entry["signature"])
    message = identity.signing_input("joiner", bytes.fromhex(entry["th"]), bytes.fromhex(entry["peer"]), info)
    key = decode_device_info(info).public_key
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    base = points.decode_point(points.BASE_Y.to_bytes(32, "little"))
    left = points.multiply(int.from_bytes(signature[32:], "little"), base)
    right = points.add(
        points.decode_point(signature[:32]),
        points.multiply(int.from_bytes(digest, "little") % points.L, points.decode_point(key)),
    )
    assert left != right
    assert points.multiply(8, left) == points.multiply(8, right)


def test_orders_agree_with_the_second_implementation(reference, vectors):
    """Order, both clocks and the pairing in use; and they do not depend on which side computes them."""
    for entry in vectors("orders.json"):
        numbers, in_use = reference.orders(entry["pairings"])
        assert in_use == entry["in_use"], entry["what"]
        assert numbers == [(one["order"], one["clock_i"], one["clock_j"]) for one in entry["pairings"]]
        for one in entry["pairings"]:
            versions = one["app_version_i"], one["app_version_j"]
            assert order_of_pairing(*versions) == order_of_pairing(*versions[::-1]) == one["order"]


def test_both_directions_of_a_connection_have_their_own_key(vectors):
    """Session keys equal in both directions would let a frame be reflected."""
    for run in vectors("run.json"):
        names = ("connection_key_initiator_to_joiner", "connection_key_joiner_to_initiator", "pairing_secret")
        assert len({run[name] for name in names}) == 3
