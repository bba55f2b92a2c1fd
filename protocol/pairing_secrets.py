"""What remains of an attempt after ChallengeConfirmation: the pairing secret and the keys of the decisions.

Implements exchange 3 of docs/protocol.md, "The exchanges": making, opening and acknowledging decisions. prk
and the ephemeral keys are not kept, so the secret stays secret even if the code leaks later ("After exchange
2"). Never decides when a device is stored or a frame is sent.
"""

from typing import Annotated

from msgspec import Meta

from ..messages.base import MalformedMessageError, encode
from ..messages.peer_protocol import Decision, DecisionReceived, PairingDecision, decode_decision, decode_wire
from ..messages.secret_struct import SecretStruct
from ..messages.types import Bytes16, Bytes32, Role, WireFrame
from . import keys
from .errors import ProtocolError


class PairingSecrets(SecretStruct):
    """Both sides have proved the code and their identities; only the users' decisions are missing.

    `role` is this side's. th2 follows from th1 and `response_frame`, th3 from th2 and `confirmation_frame`.
    "own" keys make what this side sends, "other" keys open or check what the other side sends.
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
    response_frame: WireFrame
    confirmation_frame: WireFrame
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
        response_frame: bytes,
        confirmation_frame: bytes,
    ) -> "PairingSecrets":
        """Derive everything that outlives prk."""
        other = keys.OTHER_ROLE[role]
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
            response_frame=response_frame,
            confirmation_frame=confirmation_frame,
            own_decision_key=keys.key(prk, keys.DECISION[role], th3),
            other_decision_key=keys.key(prk, keys.DECISION[other], th3),
            own_received_key=keys.key(prk, keys.RECEIVED[role], th3),
            other_received_key=keys.key(prk, keys.RECEIVED[other], th3),
        )

    def decision_frame(self, accepted: bool) -> bytes:
        """Return the frame of this side's PairingDecision.

        The same decision always gives the same bytes. Never make frames of both decisions: that would seal
        two plaintexts under one key (keys.seal). A decision is final for this reason, too.
        """
        sealed = keys.seal(self.own_decision_key, encode(Decision(accepted)), self.th3)
        return encode(PairingDecision(self.code_id, self.attempt, sealed))

    def open_decision(self, frame: bytes) -> bool:
        """Return whether the other side's user accepted, from its PairingDecision frame.

        Raises ProofFailedError when it does not open; ProtocolError when it is malformed or another message.
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
        """Return the frame DecisionReceived that acknowledges the other side's decision.

        Raises as :meth:`open_decision` does, so what cannot be opened is never acknowledged.
        """
        self.open_decision(peer_decision_frame)
        mac = keys.mac(self.own_received_key, peer_decision_frame)
        return encode(DecisionReceived(self.code_id, self.attempt, mac))

    def expected_mac(self, own_decision_frame: bytes) -> bytes:
        """Return the mac (32 bytes) that the other side's DecisionReceived for our decision must carry."""
        return keys.mac(self.other_received_key, own_decision_frame)

    def verify_received(self, own_decision_frame: bytes, frame: bytes) -> bool:
        """Return whether `frame` is the other side's acknowledgement of this side's decision frame."""
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
