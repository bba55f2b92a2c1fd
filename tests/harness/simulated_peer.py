"""A peer in the simulation that speaks the pairing protocol frame by frame, as a joiner."""

from spacedrive_node.messages.peer_protocol import Refused, decode_wire
from spacedrive_node.messages.to_session import PeerRequest
from spacedrive_node.protocol.attempt import JoinerAttempt
from spacedrive_node.protocol.code import derive
from spacedrive_node.tests.harness.session_simulation import Node


class Stranger:
    """A joiner whose frames a test sends one by one."""

    def __init__(self, node: Node, code: bytes, name: str = "stranger") -> None:
        self.node = node
        self.simulation = node.simulation
        self.keys = derive(code)
        self.peer = self.simulation.node(name).peer
        self.number = 1000

    def attempt(self) -> JoinerAttempt:
        draw = self.simulation.random.randbytes
        return JoinerAttempt.begin(
            auth_key=self.keys.auth_key,
            route_key=self.keys.route_key,
            initiator=self.node.peer,
            joiner=self.peer,
            attempt=draw(16),
            ephemeral=draw(32),
            nonce=draw(32),
        )

    def ask(self, frame: bytes, peer: bytes | None = None) -> bytes | None:
        """Send a frame. Return the answer if it comes within the same step."""
        self.number += 1
        answers: list[bytes] = []
        self.node.swarm.requests[self.number] = answers.append
        self.node.deliver("swarm", PeerRequest(self.number, peer or self.peer, frame, "direct"))
        return answers[0] if answers else None

    def reason(self, frame: bytes, peer: bytes | None = None) -> str:
        answer = self.ask(frame, peer)
        assert answer is not None
        message = decode_wire(answer)
        assert isinstance(message, Refused)
        return message.reason
