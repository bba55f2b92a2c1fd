"""What the swarm keeps of a session, and when the vault gets evidence of a peer."""

from spacedrive_node.actors.base import Send
from spacedrive_node.actors.swarm.pairing.frame_routing import FrameRouting
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import ChallengeResponse
from spacedrive_node.messages.to_swarm import Serve
from spacedrive_node.messages.to_vault import PeerEvidence


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
        assert routing.remove_session(actor) == b"peer"
    assert not routing.served
    assert len(routing._peers) == 0
