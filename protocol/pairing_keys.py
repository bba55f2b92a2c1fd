"""What both sides hold after ChallengeConfirmation: the pairing secret, and the keys of the two decisions.

Implements docs/protocol.md, "Messages" (exchange 3) and "After pairing". Never decides when to store or to
speak. prk and the ephemeral keys are not part of it: they are forgotten here.
"""

from typing import Annotated

from msgspec import Meta

from ..messages.base import MalformedMessageError, encode
from ..messages.peer_protocol import Decision, DecisionReceived, PairingDecision, decode_decision, decode_wire
from ..messages.secret_struct import SecretStruct
from ..messages.types import Bytes16, Bytes32, Role, WireFrame
from . import keys
from .errors import ProtocolError


class Proven(SecretStruct):
    """Both sides have proved the code and their identities; only the users' decisions are missing.

    `role` is this side's own. `confirmation_frame` is set for the initiator, who sends it.
    """

    role: Role
    code_id: Bytes16
    attempt: Bytes16
    th1: Bytes32
    th2: Bytes32
    th3: Bytes32
    check: Annotated[str, Meta(pattern="^[0-9]{6}$")]
    pairing_secret: Bytes32
    fingerprint: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    confirmation_frame: WireFrame | None
    own_decision_key: Bytes32
    other_decision_key: Bytes32
    own_received_key: Bytes32
    other_received_key: Bytes32

    @classmethod
    def derive(
        cls,
        *,
        role: Role,
        code_id: bytes,
        attempt: bytes,
        prk: bytes,
        th1: bytes,
        th2: bytes,
        th3: bytes,
        check: str,
        confirmation_frame: bytes | None,
    ) -> "Proven":
        """Derive all that outlives prk."""
        other = keys.OTHER[role]
        secret = keys.key(prk, keys.PAIRING_SECRET, th3)
        return cls(
            role=role,
            code_id=code_id,
            attempt=attempt,
            th1=th1,
            th2=th2,
            th3=th3,
            check=check,
            pairing_secret=secret,
            fingerprint=keys.fingerprint(secret),
            confirmation_frame=confirmation_frame,
            own_decision_key=keys.key(prk, keys.DECISION[role], th3),
            other_decision_key=keys.key(prk, keys.DECISION[other], th3),
            own_received_key=keys.key(prk, keys.RECEIVED[role], th3),
            other_received_key=keys.key(prk, keys.RECEIVED[other], th3),
        )

    def decision_frame(self, accepted: bool) -> bytes:
        """Return this side's PairingDecision.

        The first decision is final: asking for both would seal twice with one key. The same one gives the
        same bytes.
        """
        sealed = keys.seal(self.own_decision_key, encode(Decision(accepted)), self.th3)
        return encode(PairingDecision(self.code_id, self.attempt, sealed))

    def open_decision(self, frame: bytes) -> bool:
        """Return what the other decided.

        Raises ProofFailedError when it does not open, else ProtocolError.
        """
        try:
            message = decode_wire(frame)
        except MalformedMessageError:
            raise ProtocolError("malformed frame instead of PairingDecision") from None
        if not isinstance(message, PairingDecision):
            raise ProtocolError(f"{type(message).__name__} instead of PairingDecision")
        if not self._is_of_attempt(message):
            raise ProtocolError("frame of another attempt")
        plaintext = keys.unseal(self.other_decision_key, message.sealed, self.th3)
        try:
            return decode_decision(plaintext).accepted
        except MalformedMessageError:
            raise ProtocolError("sealed decision is malformed") from None

    def received_frame(self, peer_decision_frame: bytes) -> bytes:
        """Return DecisionReceived for the other side's decision. Raises as :meth:`open_decision` does."""
        self.open_decision(peer_decision_frame)
        mac = keys.mac(self.own_received_key, peer_decision_frame)
        return encode(DecisionReceived(self.code_id, self.attempt, mac))

    def expected_mac(self, own_decision_frame: bytes) -> bytes:
        """Return the mac that the other side's DecisionReceived for the own decision must carry."""
        return keys.mac(self.other_received_key, own_decision_frame)

    def verify_received(self, own_decision_frame: bytes, frame: bytes) -> bool:
        """Tell whether `frame` acknowledges the own decision; False for anything else, whatever it is."""
        try:
            message = decode_wire(frame)
        except MalformedMessageError:
            return False
        return (
            isinstance(message, DecisionReceived)
            and self._is_of_attempt(message)
            and keys.equal(message.mac, self.expected_mac(own_decision_frame))
        )

    def _is_of_attempt(self, message: PairingDecision | DecisionReceived) -> bool:
        return keys.equal(message.code_id, self.code_id) and keys.equal(message.attempt, self.attempt)
