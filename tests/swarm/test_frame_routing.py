"""What the swarm keeps of a session, and when the vault gets evidence of a peer."""

from spacedrive_node.actors.base import Send
from spacedrive_node.actors.swarm.pairing.frame_routing import FINISHED_CODE_S, FrameRouting
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import ChallengeResponse, PairingRequest
from spacedrive_node.messages.to_swarm import Serve
from spacedrive_node.messages.to_vault import PeerEvidence
from spacedrive_node.protocol.code import code_id


def test_a_session_that_has_ended_is_in_no_table() -> None:
    """A node that makes a thousand pairings a day keeps nothing of them here."""
    routing = FrameRouting()
    for number in range(3):
        actor = f"session-{number:016x}"
        routing.add_served(actor, Serve(bytes(32), "initiator"))
        evidence = Send("vault", PeerEvidence(f"{number:016x}", b"peer"))
        routing.record_request(actor, b"peer", encode(ChallengeResponse(b"i" * 16, b"t" * 16, bytes(16))))
        routing.record_forward(actor, b"peer")
        assert routing.evidence_ahead(actor, b"peer") == [evidence]
        assert routing.evidence_ahead(actor, b"peer") == []
        assert routing.remove_session(actor, 0.0) == b"peer"
    assert not routing.served
    assert len(routing._peers) == 0


def test_a_code_is_known_for_ten_minutes_after_its_session() -> None:
    """Only one that was shown here, and only to a peer that names it for this node."""
    routing = FrameRouting()
    routing.add_served("session-a", Serve(b"a" * 32, "initiator"))
    routing.add_served("session-b", Serve(b"b" * 32, "joiner"))
    shown = PairingRequest(2, code_id(b"a" * 32, b"own", b"peer"), bytes(16), bytes(32), bytes(32))
    entered = PairingRequest(2, code_id(b"b" * 32, b"own", b"peer"), bytes(16), bytes(32), bytes(32))
    assert not routing.is_finished(b"own", b"peer", shown, 0.0)
    routing.remove_session("session-a", 0.0)
    routing.remove_session("session-b", 0.0)
    assert routing.is_finished(b"own", b"peer", shown, FINISHED_CODE_S - 1)
    assert not routing.is_finished(b"own", b"other", shown, 1.0)
    assert not routing.is_finished(b"own", b"peer", entered, 1.0)
    assert not routing.is_finished(b"own", b"peer", shown, FINISHED_CODE_S)
    assert len(routing._finished) == 0
