"""What strangers, repeats and crowds get: docs/protocol.md, "Messages" and "Limits"."""

import pytest

from spacedrive_node.actors.session import candidates, state
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import (
    Challenge,
    ChallengeConfirmation,
    ChallengeResponse,
    DecisionReceived,
    PairingDecision,
    PairingRequest,
    Refused,
    decode_wire,
)
from spacedrive_node.messages.to_session import CandidateFound, PeerAnswer, PeerRequest, PeerUnreachable
from spacedrive_node.messages.to_vault import SignIdentity
from spacedrive_node.protocol.code import derive
from spacedrive_node.supervisor.ledger import MAX_CHECKPOINT_BYTES
from spacedrive_node.tests.harness.session_simulation import Node, Pair, Simulation, pair
from spacedrive_node.tests.harness.simulated_peer import Stranger


def stranger() -> Stranger:
    two = pair()
    return Stranger(two.initiator, two.initiator.start())


def test_identical_request_gets_identical_bytes_a_different_one_protocol() -> None:
    """A repeat is answered from what is kept; another message of the same kind and attempt is refused."""
    other = stranger()
    attempt = other.attempt()
    first = other.ask(attempt.request_frame)
    assert isinstance(decode_wire(first), Challenge)
    assert other.ask(attempt.request_frame) == first
    message = decode_wire(attempt.request_frame)
    changed = encode(PairingRequest(2, message.code_id, message.attempt, bytes(range(32)), message.commit))
    assert other.reason(changed) == "protocol"
    assert other.ask(attempt.request_frame) == first


def test_one_attempt_per_peer_eight_in_all_then_busy() -> None:
    """A ninth attempt is `busy` and evicts nobody; when one's time is over there is room again."""
    other = stranger()
    crowd = [Stranger(other.node, other.node.view.code, f"peer {n}") for n in range(9)]
    attempts = [one.attempt() for one in crowd]
    for one, attempt in zip(crowd[:8], attempts[:8], strict=True):
        assert isinstance(decode_wire(one.ask(attempt.request_frame)), Challenge)
    assert crowd[8].reason(attempts[8].request_frame) == "busy"
    assert crowd[0].reason(crowd[0].attempt().request_frame) == "busy"
    assert len(other.node.machine.session.inbound_attempts) == 8
    other.simulation.run(lambda: False, limit=10.5)
    assert isinstance(decode_wire(crowd[8].ask(attempts[8].request_frame)), Challenge)


def test_time_to_prove_is_over_after_ten_seconds() -> None:
    """A ChallengeResponse that comes later finds no attempt: `closed`, and a fresh attempt is welcome."""
    other = stranger()
    attempt = other.attempt()
    other.ask(attempt.request_frame)
    other.simulation.run(lambda: False, limit=10.5)
    late = encode(ChallengeResponse(attempt.code_id, attempt.attempt, bytes(40)))
    assert other.reason(late) == "closed"
    assert other.reason(attempt.request_frame) == "closed"  # its repeat does not begin it anew
    assert isinstance(decode_wire(other.ask(other.attempt().request_frame)), Challenge)


def test_wrong_proof_costs_its_sender_the_attempt_and_nobody_else_anything() -> None:
    """A response that does not open is `protocol`, again for its repeat; the code stays open to others."""
    other = stranger()
    attempt = other.attempt()
    other.ask(attempt.request_frame)
    wrong = encode(ChallengeResponse(attempt.code_id, attempt.attempt, bytes(40)))
    first = other.ask(wrong)
    assert decode_wire(first).reason == "protocol"
    assert other.ask(wrong) == first
    assert other.node.view.stage == "waiting"
    assert isinstance(decode_wire(other.ask(other.attempt().request_frame)), Challenge)
    for _ in range(40):
        someone = Stranger(other.node, other.node.view.code, "someone")
        failing = someone.attempt()
        someone.ask(failing.request_frame)
        someone.ask(encode(ChallengeResponse(failing.code_id, failing.attempt, bytes(40))))
    assert len(other.node.machine.session.inbound_attempts) <= 2 * state.MAX_OPEN_ATTEMPTS


def test_frames_of_an_attempt_from_another_peer_are_refused() -> None:
    """An attempt belongs to the peer that began it."""
    other = stranger()
    thief = Stranger(other.node, other.node.view.code, "thief")
    attempt = other.attempt()
    other.ask(attempt.request_frame)
    response = encode(ChallengeResponse(attempt.code_id, attempt.attempt, bytes(40)))
    assert other.reason(response, thief.peer) == "unavailable"
    assert other.reason(attempt.request_frame, thief.peer) == "unavailable"


def test_more_than_ten_repeats_a_second_are_busy() -> None:
    """Repeats are limited in rate, not in number."""
    other = stranger()
    attempt = other.attempt()
    answers = [other.ask(attempt.request_frame) for _ in range(14)]
    kinds = [type(decode_wire(answer)) for answer in answers]
    assert kinds[:11] == [Challenge] * 11
    assert kinds[11:] == [Refused] * 3
    other.simulation.run(lambda: False, limit=1.1)
    assert other.ask(attempt.request_frame) == answers[0]


def claimed() -> Pair:
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    return two


def test_repeats_after_the_claim() -> None:
    """Challenge and ChallengeConfirmation are repeated byte for byte while users decide."""
    two = claimed()
    asker = Stranger(two.initiator, two.joiner_code)
    frames = dict(two.joiner.swarm.seen)
    first = asker.ask(frames["PairingRequest"], two.joiner.peer)
    again = asker.ask(frames["PairingRequest"], two.joiner.peer)
    assert isinstance(decode_wire(first), Challenge)
    assert first == again
    confirmation = asker.ask(frames["ChallengeResponse"], two.joiner.peer)
    assert isinstance(decode_wire(confirmation), ChallengeConfirmation)
    assert asker.ask(frames["ChallengeResponse"], two.joiner.peer) == confirmation
    message = decode_wire(frames["ChallengeResponse"])
    changed = encode(ChallengeResponse(message.code_id, message.attempt, bytes(40)))
    assert asker.reason(changed, two.joiner.peer) == "protocol"


def test_repeats_while_the_vault_signs_wait_for_the_same_answer() -> None:
    """Every copy of a ChallengeResponse gets the one ChallengeConfirmation; a 17th copy is told `busy`."""
    two = pair(accept=(None, None))
    two.initiator.vault.silent = True
    two.begin()
    two.simulation.run(lambda: two.initiator.machine.session.phase == "SIGNING")
    frame = dict(two.joiner.swarm.seen)["ChallengeResponse"]
    answers: list[bytes] = []
    for number in range(5000, 5030):
        if number % 8 == 0:
            two.simulation.now += 1.1
        two.initiator.swarm.requests[number] = answers.append
        two.initiator.deliver("swarm", PeerRequest(number, two.joiner.peer, frame, "direct"))
    busy = [decode_wire(answer).reason for answer in answers]
    assert set(busy) == {"busy"}
    assert len(two.initiator.machine.session.waiting_requests) == state.MAX_WAITING_REQUESTS
    two.initiator.vault.silent = False
    claim = two.initiator.machine.session.claim
    attempt = two.initiator.machine.session.inbound_attempts[two.joiner.peer]
    two.initiator.vault.take(SignIdentity(claim.vault_request_id, "initiator", attempt.crypto.th2(frame)))
    two.simulation.run(lambda: two.initiator.asked)
    confirmed = set(answers[len(busy) :])
    assert len(confirmed) == 1
    assert isinstance(decode_wire(confirmed.pop()), ChallengeConfirmation)


def test_decisions_of_others_and_other_decisions_are_refused() -> None:
    """A decision from another peer is `closed`; one that does not open, or a second one, is `protocol`."""
    two = claimed()
    secrets = two.joiner.machine.session.decision.secrets
    asker = Stranger(two.initiator, two.joiner_code)
    forged = encode(PairingDecision(secrets.code_id, secrets.attempt, bytes(40)))
    assert asker.reason(forged, two.joiner.peer) == "protocol"
    assert asker.reason(forged) == "closed"
    good = secrets.decision_frame(True)
    first = asker.ask(good, two.joiner.peer)
    assert isinstance(decode_wire(first), DecisionReceived)
    assert asker.ask(good, two.joiner.peer) == first
    assert asker.reason(forged, two.joiner.peer) == "protocol"
    assert asker.reason(secrets.decision_frame(False), two.joiner.peer) == "protocol"


def test_decision_before_the_confirmation_was_handled_is_busy() -> None:
    """The joiner cannot judge a decision before it has opened ChallengeConfirmation."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: two.joiner.machine.session.phase == "RESPONDING")
    proven = two.joiner.machine.session.proven_candidate
    asker = Stranger(two.joiner, two.joiner_code)
    early = encode(PairingDecision(proven.crypto.code_id, proven.crypto.attempt, bytes(40)))
    assert asker.reason(early, two.initiator.peer) == "busy"
    assert asker.reason(early) == "closed"
    assert asker.reason(proven.crypto.request_frame, two.initiator.peer) == "protocol"


# -- the joiner's candidates ---------------------------------------------------------------------------


def joining(found: int) -> tuple[Simulation, Node, list[bytes]]:
    simulation = Simulation()
    node = simulation.node("joiner")
    node.join(bytes(16))
    peers = [simulation.random.randbytes(38) for _ in range(found)]
    return simulation, node, peers


def test_at_most_128_candidates_eight_at_a_time() -> None:
    """Decoys are capped: eight are asked at once, the 129th is not noted."""
    _world, node, peers = joining(140)
    for peer in peers:
        node.find(peer)
    session = node.machine.session
    assert len(session.candidates) == 128
    assert sum(one.status == "requested" for one in session.candidates.values()) == 8
    assert len(node.checkpoint) < 1 << 19


def test_checkpoint_stays_small_with_the_longest_addresses() -> None:
    """128 candidates with 32 addresses of 256 characters each fit a frame: also where all of these are
    hearsay, and each candidate was asked.
    """
    _world, node, peers = joining(128)
    addresses = tuple(f"{n:0256}" for n in range(32))
    for peer in peers:
        found = CandidateFound(peer, addresses, ("hint", "same_host", "mdns", "dht"), addresses)
        node.deliver("discovery", found)
        asked = node.machine.session.candidates[peer].pending_request
        node.deliver("swarm", PeerUnreachable(asked.request_id, "no address works"))
    assert len(node.checkpoint) <= MAX_CHECKPOINT_BYTES


def test_those_that_several_finders_name_come_first() -> None:
    """A candidate with two finders overtakes those that wait."""
    simulation, node, peers = joining(20)
    for peer in peers:
        node.find(peer)
    node.find(peers[19], ("dht", "mdns"))
    asked = node.machine.session.candidates[peers[0]].pending_request.request_id
    node.deliver("swarm", PeerUnreachable(asked, "no address works"))
    assert node.machine.session.candidates[peers[19]].status == "requested"
    assert simulation.nodes


def test_the_own_peer_is_no_candidate() -> None:
    """Discovery may find this node itself."""
    _world, node, _peers = joining(0)
    node.find(node)
    assert not node.machine.session.candidates


def test_an_unreachable_candidate_is_asked_again_until_it_is_there() -> None:
    """A device that restarts is found, within the pauses between two repeats."""
    two = pair()
    two.initiator.swarm.up = False
    two.begin()
    two.simulation.run(lambda: False, limit=40.0)
    two.initiator.swarm.up = True
    two.run()
    assert two.outcomes == ("paired", "paired")


def test_a_candidate_that_is_unavailable_is_asked_again_but_slowly() -> None:
    """Four misses on its own account in a minute, so that nobody takes it for guessing."""
    two = pair()
    two.initiator.start()
    two.joiner.join(bytes(16))
    two.joiner.find(two.initiator)
    two.simulation.run(lambda: two.joiner.ended)
    assert len(two.joiner.swarm.seen) == 1 + candidates.MAX_UNAVAILABLE_RETRIES


def test_a_decoy_that_does_not_know_the_words_is_dropped_for_good() -> None:
    """A wrong proof ends only this candidate, and the joiner has said nothing of itself."""
    two = pair()
    decoy = two.simulation.node("decoy")
    code = two.initiator.start()
    two.joiner.join(code)
    two.joiner.find(decoy)
    pending = two.joiner.machine.session.candidates[decoy.peer].pending_request
    forged = encode(Challenge(pending.code_id, pending.attempt, bytes(range(32)), bytes(32), bytes(32)))
    two.joiner.deliver("swarm", PeerAnswer(pending.request_id, forged, "direct"))
    assert two.joiner.machine.session.candidates[decoy.peer].status == "failed"
    two.joiner.find(decoy, ("mdns",))
    two.joiner.find(two.initiator)
    two.run()
    assert two.outcomes == ("paired", "paired")
    assert two.joiner.vault.stores == 1


@pytest.mark.parametrize("reason", ["unavailable", "busy", "protocol", "closed"])
def test_no_refusal_ends_the_search(reason: str) -> None:
    """Whatever a decoy says, the true device is found."""
    two = pair()
    decoy = two.simulation.node("decoy")
    code = two.initiator.start()
    two.joiner.join(code)
    two.joiner.find(decoy)
    pending = two.joiner.machine.session.candidates[decoy.peer].pending_request
    answer = encode(Refused(pending.code_id, pending.attempt, reason))
    two.joiner.deliver("swarm", PeerAnswer(pending.request_id, answer, "direct"))
    assert not two.joiner.ended
    two.joiner.find(two.initiator)
    two.run()
    assert two.outcomes == ("paired", "paired")


def test_a_proven_candidate_that_refuses_is_left_and_another_one_taken() -> None:
    """After `closed` to ChallengeResponse the joiner goes on, with a fresh attempt for that device too."""
    two = pair()
    two.begin()
    two.simulation.run(lambda: two.joiner.machine.session.phase == "RESPONDING")
    proven = two.joiner.machine.session.proven_candidate
    two.joiner.swarm.asks.clear()
    answer = encode(Refused(proven.crypto.code_id, proven.crypto.attempt, "closed"))
    two.joiner.deliver("swarm", PeerAnswer(proven.pending_request.request_id, answer, "direct"))
    assert two.joiner.view.stage == "proving"
    assert two.joiner.machine.session.phase == "CONNECTING"
    assert two.joiner.machine.session.candidates[two.initiator.peer].crypto is None


def test_only_one_challenge_response_is_ever_outstanding() -> None:
    """Two devices that both show the code: the joiner commits itself to the first that proves it."""
    simulation = Simulation()
    one, joiner = simulation.node("one"), simulation.node("joiner")
    code = one.start()
    twin = simulation.node("twin")
    twin.start()
    twin.machine.session.code = code
    twin.machine._keys = derive(code)
    keys = derive(code)
    twin.swarm.serve = type(twin.swarm.serve)(keys.route_key, "initiator")
    joiner.join(code)
    joiner.find(one)
    joiner.find(twin)
    simulation.run(lambda: joiner.asked)
    responses = {frame for kind, frame in joiner.swarm.seen if kind == "ChallengeResponse"}
    assert len(responses) == 1
    assert sum(node.machine.session.claim is not None for node in (one, twin)) == 1


def test_a_failed_attempt_does_not_begin_anew_either() -> None:
    """Neither when its time is over, nor when so many others have failed that it is no longer kept."""
    other = stranger()
    first = other.attempt()
    other.ask(first.request_frame)
    other.ask(encode(ChallengeResponse(first.code_id, first.attempt, bytes(40))))
    for number in range(state.MAX_OPEN_ATTEMPTS):
        someone = Stranger(other.node, other.node.view.code, f"someone {number}")
        failing = someone.attempt()
        someone.ask(failing.request_frame)
        someone.ask(encode(ChallengeResponse(failing.code_id, failing.attempt, bytes(40))))
    assert other.peer not in other.node.machine.session.inbound_attempts
    assert other.reason(first.request_frame) == "closed"
    other.simulation.run(lambda: False, limit=10.5)
    assert someone.reason(failing.request_frame) == "closed"


def test_a_decision_before_the_confirmation_is_busy() -> None:
    """On both sides, while the attempt is open and nothing is proved; of any other attempt it is `closed`."""
    other = stranger()
    attempt = other.attempt()
    other.ask(attempt.request_frame)
    bare = encode(PairingDecision(attempt.code_id, attempt.attempt, bytes(40)))
    assert other.reason(bare) == "busy"
    assert other.reason(encode(PairingDecision(attempt.code_id, b"x" * 16, bytes(40)))) == "closed"
    other.ask(encode(ChallengeResponse(attempt.code_id, attempt.attempt, bytes(40))))
    assert other.reason(bare) == "closed"  # the attempt has ended

    two = pair()
    two.joiner.join(two.initiator.start())
    two.joiner.find(two.initiator)
    asked = two.joiner.machine.session.candidates[two.initiator.peer].crypto
    asker = Stranger(two.joiner, bytes(16))
    bare = encode(PairingDecision(asked.code_id, asked.attempt, bytes(40)))
    assert asker.reason(bare, two.initiator.peer) == "busy"
    assert asker.reason(bare, asker.peer) == "closed"
