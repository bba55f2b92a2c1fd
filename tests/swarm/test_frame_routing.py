"""What the swarm keeps of a session, and when the vault gets evidence of a peer."""

from spacedrive_node.actors.base import Send
from spacedrive_node.actors.swarm.pairing.frame_routing import FrameRouting
from spacedrive_node.messages.to_swarm import Serve
from spacedrive_node.messages.to_vault import PeerEvidence


def test_a_session_that_has_ended_is_in_no_table() -> None:
    """A node that makes a thousand pairings a day keeps nothing of them here."""
    routing = FrameRouting()
    for number in range(3):
        actor = f"session-{number:016x}"
        routing.add_served(actor, Serve(bytes(32), "initiator"))
        evidence = Send("vault", PeerEvidence(f"{number:016x}", b"peer"))
        assert routing.prepare_forward(actor, b"peer") == [evidence]
        assert routing.prepare_forward(actor, b"peer") == []
        assert routing.remove_session(actor) == b"peer"
    assert not routing.served
    assert not routing._last_peer
    assert len(routing._evidence) == 0
