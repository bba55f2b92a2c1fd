"""An attempt that goes well, and attempts in which one side does not know the code or lies about itself."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import (
    ChallengeConfirmation,
    ChallengeResponse,
    Decision,
    DecisionReceived,
    Identity,
    PairingDecision,
    decode_device_info,
    decode_wire,
)
from spacedrive_node.protocol import code, keys
from spacedrive_node.protocol.attempt import (
    IdentityError,
    InitiatorAttempt,
    JoinerAttempt,
    OpenedIdentity,
    PairingSecrets,
    ProofFailedError,
    ProtocolError,
)

RELAXED = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
"""A loaded machine is no failure, and nothing is written beside the tests."""

WRONG = bytes(16)
SMALL_ORDER_X25519 = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


# --- what goes well -----------------------------------------------------------------------------


def test_both_sides_agree(done):
    """Secret, transcript, check value and fingerprint are equal, and each has seen the other's device."""
    i, j = done.proven_i, done.proven_j
    for field in ("th1", "th2", "th3", "check", "pairing_secret", "fingerprint", "code_id", "attempt"):
        assert getattr(i, field) == getattr(j, field), field
    assert (i.role, j.role) == ("initiator", "joiner")
    assert (done.opened_j.info.name, done.opened_i.info.name) == ("bob", "ada")
    base = keys.transcript_base(done.joiner.initiator, done.joiner.joiner, done.request)
    th1 = keys.th1(base, done.challenge)
    assert (done.opened_j.th, done.opened_i.th) == (i.th1, i.th2) == (th1, keys.th_next(th1, done.response))
    assert done.opened_j.check == done.opened_i.check == i.check
    assert done.opened_j.info.public_key != done.opened_i.info.public_key
    assert len(i.check) == 6
    assert j.confirmation_frame == i.confirmation_frame


@pytest.mark.parametrize("accepted", [True, False])
def test_decisions_are_read_and_acknowledged_both_ways(done, accepted):
    """Each side opens the other's decision, and its acknowledgement is what the other expects."""
    for own, other in ((done.proven_i, done.proven_j), (done.proven_j, done.proven_i)):
        frame = own.decision_frame(accepted)
        assert frame == own.decision_frame(accepted)
        assert other.open_decision(frame) is accepted
        answer = other.received_frame(frame)
        assert own.verify_received(frame, answer)
        message = decode_wire(answer)
        assert isinstance(message, DecisionReceived)
        assert message.mac == own.expected_mac(frame)


def test_a_restarted_step_gives_the_same_bytes(pairing, done):
    """Nothing random is drawn inside, so a step that is redone after a crash repeats itself exactly."""
    assert pairing.begin_initiator() == done.initiator
    assert pairing.begin_joiner() == done.joiner
    assert pairing.respond(done.challenge) == done.response
    assert pairing.confirm(done.initiator, done.response) == done.proven_i


def test_fresh_attempts_share_nothing(make_pairing):
    """Another attempt with the same code and devices has other keys, secret and check value."""
    one, two = make_pairing().complete(), make_pairing(salt="again").complete()
    assert one.request != two.request
    for field in ("th3", "pairing_secret", "fingerprint", "own_decision_key", "other_received_key"):
        assert getattr(one.proven_i, field) != getattr(two.proven_i, field), field


def test_every_key_is_another(done):
    """No key serves two purposes or two directions."""
    proven = done.proven_i
    found = {
        proven.pairing_secret,
        proven.own_decision_key,
        proven.other_decision_key,
        proven.own_received_key,
        proven.other_received_key,
        done.initiator.prk,
        *(keys.key(done.initiator.prk, label, proven.th1) for label in keys.SEAL.values()),
    }
    assert len(found) == 8


# --- checkpoints and printing -------------------------------------------------------------------

STATES = ["initiator", "joiner", "opened_i", "opened_j", "proven_i", "proven_j"]


@pytest.mark.parametrize("state", STATES)
def test_states_survive_a_checkpoint(done, state):
    """Every state is the same after MessagePack, so a session carries on after SIGKILL."""
    value = getattr(done, state)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value)) == value


@pytest.mark.parametrize("state", STATES)
def test_states_do_not_print_their_secrets(done, state):
    """repr, str, format and rich show the type and nothing else."""
    value = getattr(done, state)
    shown = f"<{type(value).__name__}>"
    assert repr(value) == str(value) == f"{value}" == shown
    rich = pretty_repr(value)
    for field in value.__struct_fields__:
        assert field + "=" not in rich


# --- who does not know the code -----------------------------------------------------------------


def test_an_initiator_with_another_code_is_found_out_first(make_pairing):
    """A decoy's proof fails before the joiner has sent anything but random numbers and a hash."""
    pairing = make_pairing()
    decoy = pairing.begin_initiator(auth_key=code.derive(WRONG).auth_key)
    with pytest.raises(ProofFailedError):
        pairing.joiner.verify_challenge(decoy.challenge_frame)
    info = pairing.bob.info(pairing.joiner.nonce)
    with pytest.raises(ProofFailedError):
        pairing.joiner.respond(decoy.challenge_frame, info, bytes(64))
    for known in (pairing.bob.public_key, b"bob", pairing.joiner.nonce, pairing.bob.peer):
        assert known not in pairing.joiner.request_frame


def test_a_joiner_with_another_code_proves_nothing(pairing, done):
    """Its sealed identity does not open."""
    stranger = pairing.begin_joiner(auth_key=code.derive(WRONG).auth_key)
    th1 = done.initiator.th1
    prk = keys.shared_prk(stranger.auth_key, stranger.ephemeral, decode_wire(done.challenge).eph)
    sealed = keys.seal(keys.key(prk, keys.SEAL["joiner"], th1), encode(Identity(b"x", bytes(64))), th1)
    with pytest.raises(ProofFailedError):
        done.initiator.open_response(encode(ChallengeResponse(stranger.code_id, stranger.attempt, sealed)))


def test_another_peer_cannot_carry_the_frames(pairing, make_device):
    """Frames relayed by a peer in between fail on both sides: the transcripts differ in a peer id."""
    middle = make_device("mallory").peer
    towards_ada = pairing.begin_initiator(joiner=middle)
    with pytest.raises(ProofFailedError):
        pairing.joiner.verify_challenge(towards_ada.challenge_frame)
    towards_bob = pairing.begin_joiner(initiator=middle)
    assert towards_bob.code_id != pairing.joiner.code_id
    with pytest.raises(ProtocolError):
        towards_bob.verify_challenge(pairing.begin_initiator().challenge_frame)


def test_one_who_knows_the_words_cannot_swap_a_device_unseen(make_pairing):
    """In between with the right code there are two pairings, and their check values are not related."""
    left = make_pairing(salt="left").complete()
    right = make_pairing(salt="right").complete()
    assert left.proven_i.check != right.proven_i.check
    with pytest.raises(ProtocolError):
        right.initiator.open_response(left.response)


def test_the_check_value_depends_on_the_committed_nonce(pairing, done):
    """The joiner's nonce decides it, and it is fixed before the initiator's challenge is known."""
    other = keys.check_value(done.initiator.prk, done.initiator.th1, b"\x05" * 32)
    assert other != done.proven_i.check


# --- who lies about itself ----------------------------------------------------------------------


def sealed_response(pairing, done, info: bytes, signature: bytes) -> bytes:
    """A ChallengeResponse by one who knows the code but does not run this program."""
    prk, th1 = done.initiator.prk, done.initiator.th1
    sealed = keys.seal(keys.key(prk, keys.SEAL["joiner"], th1), encode(Identity(info, signature)), th1)
    return encode(ChallengeResponse(pairing.joiner.code_id, pairing.joiner.attempt, sealed))


def sealed_confirmation(done, info: bytes, signature: bytes) -> bytes:
    """The same for ChallengeConfirmation."""
    prk, th2 = done.initiator.prk, done.proven_i.th2
    sealed = keys.seal(keys.key(prk, keys.SEAL["initiator"], th2), encode(Identity(info, signature)), th2)
    return encode(ChallengeConfirmation(done.joiner.code_id, done.joiner.attempt, sealed))


def test_the_nonce_must_be_the_committed_one(pairing, done):
    """A joiner that chooses its nonce after the challenge, to steer the check value, is refused."""
    info = pairing.bob.info(b"\x05" * 32)
    frame = sealed_response(pairing, done, info, pairing.bob.sign("joiner", done.initiator.th1, info))
    with pytest.raises(ProtocolError, match="committed"):
        done.initiator.open_response(frame)


def test_a_signature_of_another_attempt_is_refused(make_pairing, pairing, done):
    """An identity that was truly signed once cannot be shown again by who has seen it."""
    old = make_pairing(salt="old").complete()
    info = msgspec.structs.replace(decode_device_info(old.opened_j.info_frame), nonce=pairing.joiner.nonce)
    for signed in (encode(info), pairing.bob.info(pairing.joiner.nonce)):
        with pytest.raises(IdentityError):
            done.initiator.open_response(sealed_response(pairing, done, signed, old.opened_j.signature))


def test_the_joiners_identity_cannot_be_returned_as_the_initiators(pairing, done):
    """One who knows the code and mirrors what it opened is refused: own nonce, own key, other role."""
    own, signature = done.opened_j.info_frame, done.opened_j.signature
    bare = pairing.bob.info(None)
    for info, sig in ((own, signature), (bare, signature)):
        with pytest.raises(IdentityError):
            done.joiner.open_confirmation(done.challenge, done.response, sealed_confirmation(done, info, sig))


def test_own_device_key_on_the_other_side_is_refused_by_both(pairing, done):
    """A copy of this device is not another device; both roles notice, though neither key is in the state."""
    bare = pairing.bob.info(None)
    signature = pairing.bob.key.sign(
        keys.lp(b"spacedrive-pairing-v2 device")
        + keys.lp(b"initiator")
        + keys.lp(done.proven_i.th2)
        + keys.lp(pairing.ada.peer)
        + keys.lp(bare)
    )
    frame = sealed_confirmation(done, bare, signature)
    with pytest.raises(IdentityError, match="own key"):
        done.joiner.open_confirmation(done.challenge, done.response, frame)
    with pytest.raises(IdentityError, match="own key"):
        done.initiator.confirm(done.response, bare, bytes(64))
    with pytest.raises(IdentityError, match="own key"):
        done.initiator.open_response(done.response, own_public_key=pairing.bob.public_key)


def test_own_peer_on_the_other_side_is_refused(pairing):
    """A node that reaches itself does not begin."""
    with pytest.raises(ProtocolError):
        pairing.begin_joiner(initiator=pairing.bob.peer)
    with pytest.raises(ProtocolError):
        pairing.begin_initiator(joiner=pairing.ada.peer)


@pytest.mark.parametrize("eph", SMALL_ORDER_X25519, ids=lambda eph: eph.hex()[:8])
def test_ephemeral_keys_of_small_order_are_refused(pairing, done, eph):
    """They would make the shared secret all zero, whatever the other side's key."""
    request = encode(msgspec.structs.replace(decode_wire(done.request), eph=eph))
    with pytest.raises(ProtocolError, match="small order"):
        pairing.begin_initiator(request_frame=request)
    challenge = encode(msgspec.structs.replace(decode_wire(done.challenge), eph=eph))
    with pytest.raises(ProtocolError, match="small order"):
        done.joiner.verify_challenge(challenge)


def test_malformed_plaintexts_are_protocol_errors(pairing, done):
    """Also what a prover sealed correctly may be nonsense."""
    prk, th1, th3 = done.initiator.prk, done.initiator.th1, done.proven_i.th3
    identifier, attempt = done.joiner.code_id, done.joiner.attempt
    for plaintext in (b"", b"\xc0", b"\x81", encode(Identity(b"x", bytes(64))) + b"\x00"):
        sealed = keys.seal(keys.key(prk, keys.SEAL["joiner"], th1), plaintext, th1)
        with pytest.raises(ProtocolError) as caught:
            done.initiator.open_response(encode(ChallengeResponse(identifier, attempt, sealed)))
        assert not isinstance(caught.value, ProofFailedError)
    for plaintext in (b"", b"\xc3", encode(Decision(True)) + b"\x00", b"\x81\xa8accepted\x01"):
        sealed = keys.seal(done.proven_j.own_decision_key, plaintext, th3)
        with pytest.raises(ProtocolError) as caught:
            done.proven_i.open_decision(encode(PairingDecision(identifier, attempt, sealed)))
        assert not isinstance(caught.value, ProofFailedError)


def test_own_mistakes_are_value_errors(pairing, done):
    """A caller's mistake is not taken for the peer's."""
    with pytest.raises(ValueError, match="attempt"):
        pairing.begin_joiner(attempt=b"short")
    with pytest.raises(ValueError, match="nonce"):
        pairing.begin_initiator(nonce=b"short")
    with pytest.raises(ValueError, match="32"):
        pairing.begin_initiator(ephemeral=b"short")
    with pytest.raises(ValueError, match="no nonce"):
        done.initiator.confirm(done.response, pairing.ada.info(bytes(32)), bytes(64))
    with pytest.raises(ValueError, match="nonce of this attempt"):
        done.joiner.respond(done.challenge, pairing.bob.info(bytes(32)), bytes(64))


@RELAXED
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_protocol_error(shared_pairing, shared_done, data):
    """Whatever a peer sends instead of each frame, only the typed error comes out."""
    done = shared_done
    for call in (
        lambda: shared_pairing.begin_initiator(request_frame=data),
        lambda: done.joiner.verify_challenge(data),
        lambda: done.initiator.open_response(data),
        lambda: done.joiner.open_confirmation(done.challenge, done.response, data),
        lambda: done.proven_i.open_decision(data),
        lambda: done.proven_j.received_frame(data),
    ):
        with pytest.raises(ProtocolError):
            call()
    assert not done.proven_i.verify_received(done.proven_i.decision_frame(True), data)


def test_types_are_what_the_session_keeps(done):
    """The names that other modules import are the classes of these states."""
    assert isinstance(done.initiator, InitiatorAttempt)
    assert isinstance(done.joiner, JoinerAttempt)
    assert isinstance(done.opened_j, OpenedIdentity)
    assert isinstance(done.opened_i, OpenedIdentity)
    assert isinstance(done.proven_j, PairingSecrets)
