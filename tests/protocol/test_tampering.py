"""Frames that were altered, mirrored, exchanged or replayed: nothing but the true frame is ever accepted."""

import msgpack
import pytest

from spacedrive_node.messages.base import MalformedMessageError
from spacedrive_node.messages.peer_protocol import decode_wire
from spacedrive_node.protocol.attempt import ProofFailedError, ProtocolError

REQUEST, CHALLENGE, RESPONSE, CONFIRMATION = "request", "challenge", "response", "confirmation"


def altered(frame: bytes):
    """Each byte of the frame with one of its bits flipped, another bit for each byte."""
    for at in range(len(frame)):
        yield frame[:at] + bytes([frame[at] ^ (1 << (at % 8))]) + frame[at + 1 :]


def refused_by(function, *arguments) -> bool:
    try:
        function(*arguments)
    except ProtocolError:
        return True
    return False


def test_a_request_altered_on_the_way_is_noticed_by_the_joiner(pairing, done):
    """The initiator may answer it, but its proof covers what it saw and the joiner compares."""
    for frame in altered(done.request):
        try:
            answer = pairing.begin_initiator(request_frame=frame).challenge_frame
        except ProtocolError:
            continue
        assert refused_by(done.joiner.verify_challenge, answer)


def test_no_altered_challenge_is_accepted(done):
    """Every byte of Challenge is covered by the proof or by the canonical form."""
    assert all(refused_by(done.joiner.verify_challenge, frame) for frame in altered(done.challenge))


def test_no_altered_response_opens(done):
    """Every byte of ChallengeResponse counts."""
    assert all(refused_by(done.initiator.open_response, frame) for frame in altered(done.response))


def test_no_altered_confirmation_opens(done):
    """Every byte of ChallengeConfirmation counts."""
    for frame in altered(done.confirmation):
        assert refused_by(done.joiner.open_confirmation, done.challenge, done.response, frame)


def test_no_altered_decision_opens_and_no_altered_acknowledgement_counts(done):
    """Every byte of PairingDecision and DecisionReceived counts."""
    decision = done.proven_j.decision_frame(True)
    assert all(refused_by(done.proven_i.open_decision, frame) for frame in altered(decision))
    assert all(refused_by(done.proven_i.received_frame, frame) for frame in altered(decision))
    received = done.proven_i.received_frame(decision)
    assert not any(done.proven_j.verify_received(decision, frame) for frame in altered(received))


@pytest.mark.parametrize("kind", [REQUEST, CHALLENGE, RESPONSE, CONFIRMATION])
@pytest.mark.parametrize("spoil", ["extra", "missing", "swapped", "longer", "shorter", "text", "nil"])
def test_every_field_of_every_frame_has_one_form(done, kind, spoil):
    """For each field: left out, doubled in length, of another type, in another place. None decodes."""
    fields = list(msgpack.unpackb(getattr(done, kind), raw=False).items())
    for at, (name, value) in enumerate(fields):
        changed = list(fields)
        if spoil == "extra":
            changed.insert(at, (name + "x", value))
        elif spoil == "missing":
            del changed[at]
        elif spoil == "swapped":
            changed[at - 1], changed[at] = changed[at], changed[at - 1]
        elif spoil == "nil":
            changed[at] = (name, None)
        elif not isinstance(value, bytes) or (name == "sealed" and spoil != "text"):
            continue
        else:
            other = {"longer": value + b"x", "shorter": value[:-1], "text": "x" * len(value)}[spoil]
            changed[at] = (name, other)
        with pytest.raises(MalformedMessageError):
            decode_wire(msgpack.packb(dict(changed)))


def test_frames_of_another_kind_are_refused(done):
    """Each frame in the place of each other one: only the one that belongs there is taken."""
    decision_i, decision_j = done.proven_i.decision_frame(True), done.proven_j.decision_frame(True)
    received = done.proven_i.received_frame(decision_j)
    frames = [
        done.request,
        done.challenge,
        done.response,
        done.confirmation,
        decision_i,
        decision_j,
        received,
    ]
    places = {
        done.challenge: done.joiner.verify_challenge,
        done.response: done.initiator.open_response,
        done.confirmation: lambda frame: done.joiner.open_confirmation(done.challenge, done.response, frame),
        decision_j: done.proven_i.open_decision,
        decision_i: done.proven_j.open_decision,
    }
    for right, place in places.items():
        for frame in frames:
            assert refused_by(place, frame) == (frame != right)


def test_an_own_decision_sent_back_is_not_the_others(done):
    """Reflection: `accepted` of one side can never count for the other side."""
    for own in (done.proven_i, done.proven_j):
        for accepted in (True, False):
            frame = own.decision_frame(accepted)
            with pytest.raises(ProofFailedError):
                own.open_decision(frame)
            with pytest.raises(ProofFailedError):
                own.received_frame(frame)


def test_an_acknowledgement_counts_for_its_own_decision_only(done):
    """Not for the other decision, not mirrored, and a side cannot acknowledge itself."""
    i, j = done.proven_i, done.proven_j
    yes_i, yes_j, no_j = i.decision_frame(True), j.decision_frame(True), j.decision_frame(False)
    ack_yes_j, ack_no_j = i.received_frame(yes_j), i.received_frame(no_j)
    assert j.verify_received(yes_j, ack_yes_j)
    assert not j.verify_received(yes_j, ack_no_j)
    assert not j.verify_received(no_j, ack_yes_j)
    assert not i.verify_received(yes_i, ack_yes_j)
    assert not i.verify_received(yes_j, ack_yes_j)


def test_a_bare_acceptance_ends_nothing(done):
    """`accepted` in the clear, as an older protocol took it, is not a message here."""
    for frame in (
        msgpack.packb({"t": "PairingDecision", "accepted": True}),
        msgpack.packb(
            {
                "t": "PairingDecision",
                "code_id": done.joiner.code_id,
                "attempt": done.joiner.attempt,
                "sealed": msgpack.packb({"accepted": True}) + bytes(16),
            }
        ),
    ):
        assert refused_by(done.proven_i.open_decision, frame)
        assert refused_by(done.proven_j.open_decision, frame)


@pytest.mark.parametrize("change", ["attempt", "code", "roles", "initiator", "joiner"])
def test_frames_of_another_pairing_are_refused(make_pairing, make_device, done, change):
    """Another attempt, another code, exchanged roles, another device: every frame is refused in its place."""
    other = make_pairing(
        entropy=bytes(16) if change == "code" else done_entropy(make_pairing),
        salt="other" if change == "attempt" else "",
        ada="eve" if change == "initiator" else "ada",
    )
    if change == "roles":
        other.ada, other.bob = other.bob, other.ada
    if change == "joiner":
        other.bob = make_device("eve")
    other.joiner = other.begin_joiner()
    theirs = other.complete()
    assert refused_by(done.joiner.verify_challenge, theirs.challenge)
    assert refused_by(done.initiator.open_response, theirs.response)
    assert refused_by(done.joiner.open_confirmation, done.challenge, done.response, theirs.confirmation)
    assert refused_by(done.joiner.open_confirmation, done.challenge, theirs.response, done.confirmation)
    for own, peer in ((done.proven_i, theirs.proven_j), (done.proven_j, theirs.proven_i)):
        frame = peer.decision_frame(True)
        assert refused_by(own.open_decision, frame)
        mine = own.decision_frame(True)
        assert not own.verify_received(mine, peer.received_frame(_decision_for(peer, theirs)))


def done_entropy(make_pairing) -> bytes:
    """The code that the `done` fixture uses: that of Pairing itself."""
    return make_pairing.__init__.__defaults__[0]


def _decision_for(receiver, states) -> bytes:
    sender = states.proven_i if receiver is states.proven_j else states.proven_j
    return sender.decision_frame(True)


def test_sealed_parts_cannot_move_to_another_attempt(make_pairing, done):
    """The header may be rewritten to fit; the sealed part still belongs to its own transcript."""
    other = make_pairing(salt="other").complete()
    head = {"code_id": done.joiner.code_id, "attempt": done.joiner.attempt}

    def moved(frame: bytes) -> bytes:
        return msgpack.packb(msgpack.unpackb(frame) | head)

    assert moved(done.response) == done.response
    with pytest.raises(ProofFailedError):
        done.joiner.verify_challenge(moved(other.challenge))
    with pytest.raises(ProofFailedError):
        done.initiator.open_response(moved(other.response))
    with pytest.raises(ProofFailedError):
        done.joiner.open_confirmation(done.challenge, done.response, moved(other.confirmation))
    with pytest.raises(ProofFailedError):
        done.proven_i.open_decision(moved(other.proven_j.decision_frame(True)))
