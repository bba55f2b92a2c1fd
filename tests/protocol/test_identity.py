"""Peer ids, device ids, names, small-order keys, and the signature that binds a device to a transcript."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import DeviceInfo, decode_device_info
from spacedrive_node.protocol import identity, peer_ids
from spacedrive_node.protocol.errors import ProtocolError
from spacedrive_node.protocol.identity import IdentityError

RELAXED = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
"""A loaded machine is no failure, and nothing is written beside the tests."""

TH = bytes(range(32))
NONCE = b"n" * 32


def own(device):
    """The arguments that say who checks."""
    return {"own_public_key": device.public_key, "own_peer": device.peer}


def spoil(info: bytes, **changes) -> bytes:
    """Change fields without the checks of make_info."""
    return encode(msgspec.structs.replace(decode_device_info(info), **changes))


# --- peer ids -----------------------------------------------------------------------------------


def test_peer_ids_are_those_of_libp2p():
    """The binary form and the text are what py-libp2p makes of the same key."""
    pair = create_new_key_pair(bytes(range(32)))
    peer = peer_ids.peer_id_of(pair.public_key.to_bytes())
    assert peer == ID.from_pubkey(pair.public_key).to_bytes()
    assert peer_ids.peer_id_text(peer) == ID(peer).to_base58()
    assert peer_ids.peer_id_text(peer).startswith("12D3Koo")


@RELAXED
@given(st.binary(min_size=32, max_size=32))
def test_peer_id_text_round_trip(key):
    """Both kinds of peer id are read back; the hashed one is that of large keys such as RSA."""
    for peer in (peer_ids.peer_id_of(key), b"\x12\x20" + key):
        assert peer_ids.peer_id_from_text(peer_ids.peer_id_text(peer)) == peer


@pytest.mark.parametrize("text", ["", "0OIl", "é", " 12D3", "1" * 52, "1" * 5000, "QmX"])
def test_text_that_is_no_peer_id(text):
    """Anything else is a ValueError, long input too."""
    with pytest.raises(ValueError, match="not a peer id"):
        peer_ids.peer_id_from_text(text)


def test_one_peer_id_has_one_text():
    """White space around is not forgiven: two texts for one peer would defeat comparisons."""
    text = peer_ids.peer_id_text(peer_ids.peer_id_of(bytes(range(32))))
    for other in (text + "\n", " " + text, text[:-1], text + "1"):
        with pytest.raises(ValueError, match="not a peer id"):
            peer_ids.peer_id_from_text(other)


@RELAXED
@given(st.text(max_size=120))
def test_any_text_is_a_peer_id_or_a_value_error(text):
    """No other exception escapes."""
    with pytest.raises(ValueError, match="not a peer id"):
        peer_ids.peer_id_from_text(text)


# --- small-order keys ---------------------------------------------------------------------------

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def _add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P,
    )


def _torsion() -> set[tuple[int, int]]:
    """The eight points of small order, by curve arithmetic: multiply points by the large prime order."""
    order = 2**252 + 27742317777372353535851937790883648493
    points = set()
    for y in range(2, 40):
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(square, (P + 3) // 8, P)
        if (x * x - square) % P:
            x = x * pow(2, (P - 1) // 4, P) % P
        if (x * x - square) % P:
            continue
        total, addend, n = (0, 1), (x, y), order
        while n:
            if n & 1:
                total = _add(total, addend)
            addend, n = _add(addend, addend), n >> 1
        points.add(total)
    return points


def test_small_order_keys_are_exactly_those_of_the_curve():
    """Every encoding of each of the eight points is known, canonical or not, and no ordinary key is."""
    ys = {y for _, y in _torsion()}
    assert len(_torsion()) == 8
    encodings = {v for y in ys for v in (y, y + P) if v < 2**255}
    assert len(encodings) == 7
    for value in encodings:
        for sign in (0, 1):
            assert identity.is_small_order((value | sign << 255).to_bytes(32, "little"))
    assert not identity.is_small_order((2).to_bytes(32, "little"))
    assert not identity.is_small_order(b"")


def test_a_key_of_small_order_is_refused_although_its_signature_verifies(make_device):
    """With the neutral element as key, one signature fits every message: no identity at all."""
    neutral = (1).to_bytes(32, "little")
    forged = neutral + bytes(32)
    base = make_device("x")
    info = spoil(base.info(NONCE), public_key=neutral, device_id=identity.device_id(neutral))
    with pytest.raises(IdentityError, match="small order"):
        identity.verify("joiner", TH, base.peer, info, forged, **own(make_device("y")))


# --- DeviceInfo and signature -------------------------------------------------------------------


@pytest.mark.parametrize(("role", "nonce"), [("joiner", NONCE), ("initiator", None)])
def test_a_true_identity_is_accepted(make_device, role, nonce):
    """Both roles verify, with the info that went in."""
    it, we = make_device("it"), make_device("we")
    info = it.info(nonce)
    seen = identity.verify(role, TH, it.peer, info, it.sign(role, TH, info), **own(we))
    assert (seen.name, seen.public_key, seen.device_id) == (
        "it",
        it.public_key,
        identity.device_id(it.public_key),
    )


def test_the_signature_binds_role_transcript_peer_and_info(make_device):
    """Nothing of what is signed can be exchanged for something else."""
    it, we, third = make_device("it"), make_device("we"), make_device("third")
    info, other_info = it.info(NONCE), spoil(it.info(NONCE), name="other")
    signature = it.sign("joiner", TH, info)
    for th, peer, frame, sig in (
        (bytes(32), it.peer, info, signature),
        (TH, third.peer, info, signature),
        (TH, it.peer, other_info, signature),
        (TH, it.peer, info, it.sign("initiator", TH, info)),
        (TH, it.peer, info, third.sign("joiner", TH, info)),
        (TH, it.peer, info, bytes(64)),
    ):
        with pytest.raises(IdentityError, match="signature"):
            identity.verify("joiner", th, peer, frame, sig, **own(we))


def test_a_device_id_cannot_be_claimed(make_device):
    """The id of a trusted device with another key is refused, so nothing is overwritten."""
    it, victim = make_device("it"), make_device("victim")
    info = spoil(it.info(NONCE), device_id=identity.device_id(victim.public_key))
    with pytest.raises(IdentityError, match="device id"):
        identity.verify("joiner", TH, it.peer, info, it.sign("joiner", TH, info), **own(make_device("we")))


def test_own_key_and_own_peer_are_refused(make_device):
    """The other device is never a copy of this one."""
    it, we = make_device("it"), make_device("we")
    info = it.info(NONCE)
    signature = it.sign("joiner", TH, info)
    with pytest.raises(IdentityError, match="own key"):
        identity.verify(
            "joiner", TH, it.peer, info, signature, own_public_key=it.public_key, own_peer=we.peer
        )
    with pytest.raises(IdentityError, match="own peer id"):
        identity.verify(
            "joiner", TH, it.peer, info, signature, own_public_key=we.public_key, own_peer=it.peer
        )


def test_the_nonce_is_the_joiners_alone(make_device):
    """A joiner without one has not opened its commitment; an initiator never has one."""
    it, we = make_device("it"), make_device("we")
    for role, nonce in (("joiner", None), ("initiator", NONCE)):
        info = it.info(nonce)
        with pytest.raises(IdentityError, match="nonce"):
            identity.verify(role, TH, it.peer, info, it.sign(role, TH, info), **own(we))


@pytest.mark.parametrize("field", ["name", "os", "app_version"])
@pytest.mark.parametrize("text", ["\u202eevil", "a\u0301", " ", "", "a\x00", "\u0378", "x" * 70])
def test_bad_text_is_refused_in_every_field(make_device, field, text):
    """The rules for text hold for what a peer sends, and are never mended by stripping."""
    it = make_device("it")
    info = encode(msgspec.structs.replace(decode_device_info(it.info(NONCE)), **{field: text}))
    with pytest.raises(IdentityError):
        identity.verify("joiner", TH, it.peer, info, it.sign("joiner", TH, info), **own(make_device("we")))


def test_a_lone_surrogate_is_refused():
    """It cannot travel in MessagePack, but a name typed here may hold one."""
    with pytest.raises(IdentityError):
        identity.check_name("a\ud800")


def test_own_info_obeys_the_rules_too():
    """A name that the other side would refuse fails here, and what is unknown is called so."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    with pytest.raises(IdentityError, match="name"):
        identity.make_info(public_key=key, name="a\u200b", os="linux", app_version="1", nonce=None)
    info = decode_device_info(identity.make_info(public_key=key, name="a", os="", app_version="", nonce=None))
    assert (info.os, info.app_version) == ("unknown", "unknown")


def test_errors_never_quote_what_was_sent():
    """What a peer chose does not reach logs through an exception."""
    with pytest.raises(IdentityError) as caught:
        identity.check_name("sneaky\nlog line")
    assert "sneaky" not in str(caught.value)


@RELAXED
@given(st.binary(max_size=200))
def test_any_bytes_as_info_are_an_identity_error(info):
    """Only the typed error escapes."""
    with pytest.raises(IdentityError) as caught:
        identity.verify(
            "joiner", TH, b"\x01" * 38, info, bytes(64), own_public_key=bytes(32), own_peer=b"\x02" * 38
        )
    assert isinstance(caught.value, ProtocolError)


@RELAXED
@given(st.text(max_size=70))
def test_what_check_name_accepts_can_be_sent(name):
    """An accepted name always makes a frame that decodes to the same name."""
    try:
        identity.check_name(name)
    except IdentityError:
        return
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    frame = identity.make_info(public_key=key, name=name, os="a", app_version="b", nonce=None)
    assert decode_device_info(frame) == DeviceInfo(identity.device_id(key), name, key, "a", "b")
