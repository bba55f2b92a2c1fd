"""What can be wrong with what a peer sends (docs/protocol.md, "Messages"). Own misuse is ValueError instead.

None of these texts contains a byte that was received or a secret, so they may go into logs as they are.
"""

from ..messages.errors import SpacedriveNodeError


class ProtocolError(SpacedriveNodeError):
    """The peer broke the protocol; its attempt is over. Answer: Refused{protocol}, or drop the candidate."""


class ProofFailedError(ProtocolError):
    """A proof does not fit or a sealed part does not open: not the same code, keys and transcript."""


class IdentityError(ProtocolError):
    """The peer's description of itself breaks a rule, or its signature is not by the key that it names."""
