"""The files in tests/vectors, against this package and against a second implementation."""

import base58

from spacedrive_node.messages.base import MalformedMessageError
from spacedrive_node.messages.peer_protocol import decode_wire
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol import code, identity
from spacedrive_node.protocol.identity import IdentityError

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


def test_both_directions_of_a_connection_have_their_own_key(vectors):
    """Session keys equal in both directions would let a frame be reflected."""
    for run in vectors("run.json"):
        names = ("connection_key_initiator_to_joiner", "connection_key_joiner_to_initiator", "pairing_secret")
        assert len({run[name] for name in names}) == 3
