"""What can be wrong with what a peer sends (docs/protocol.md, "Messages").

A caller that uses this package wrongly gets a ValueError instead. Owns the types only. None of their texts
holds a secret or a byte that was received, so they may go into logs as they are.
"""

from ..messages.errors import SpacedriveNodeError


class ProtocolError(SpacedriveNodeError):
    """The peer broke the protocol; its attempt has ended. Answer Refused{protocol}, or drop the candidate."""


class ProofFailedError(ProtocolError):
    """A proof does not match, or a seal does not open: the peer has another code, key or transcript."""


class IdentityError(ProtocolError):
    """The peer's description of itself breaks a rule, or is not signed by the key that it names."""
