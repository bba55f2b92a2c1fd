"""The cryptography of one attempt, both roles (docs/protocol.md, "Messages" and "Keys").

States are immutable and go into checkpoints as they are; all randomness is passed in. Frames go in and come
out as bytes. Never decides *when*: expiry, claiming the code, repeats and storing are the session's.
Whatever a peer can cause is a ProtocolError; ValueError means that the caller is wrong.

    initiator                                            joiner
                                                         begin → request_frame
    begin(request_frame) → challenge_frame
                                                         verify_challenge → th1   (before it reveals anything)
                                                         respond → response frame
    open_response → OpenedResponse; th2
    confirm → Proven, confirmation_frame
                                                         open_confirmation → Proven, OpenedConfirmation
"""

from typing import TypeVar

import msgspec

from ..messages.base import MalformedMessageError, encode
from ..messages.peer_protocol import (
    Challenge,
    ChallengeConfirmation,
    ChallengeResponse,
    DeviceInfo,
    Identity,
    PairingRequest,
    decode_device_info,
    decode_identity,
    decode_wire,
)
from ..messages.secret_struct import SecretStruct
from ..messages.types import Bytes16, Bytes32, Bytes64, PeerId, Role, WireFrame
from . import identity, keys
from .code import code_id
from .errors import IdentityError, ProofFailedError, ProtocolError
from .pairing_keys import Proven

__all__ = [
    "IdentityError",
    "InitiatorAttempt",
    "JoinerAttempt",
    "OpenedConfirmation",
    "OpenedIdentity",
    "OpenedResponse",
    "ProofFailedError",
    "ProtocolError",
    "Proven",
]

F = TypeVar("F", PairingRequest, Challenge, ChallengeResponse, ChallengeConfirmation)


class OpenedIdentity(SecretStruct):
    """The other side, as it has proved itself: what StoreDevice needs, and the check value.

    `role` and `peer` are the other side's; `th` is the hash that its signature covers.
    """

    role: Role
    peer: PeerId
    th: Bytes32
    info_frame: bytes
    signature: Bytes64
    info: DeviceInfo
    check: str


class OpenedResponse(OpenedIdentity):
    """The joiner, as the initiator sees it."""

    @property
    def th1(self) -> bytes:
        """The hash that the joiner's signature covers."""
        return self.th


class OpenedConfirmation(OpenedIdentity):
    """The initiator, as the joiner sees it."""

    @property
    def th2(self) -> bytes:
        """The hash that the initiator's signature covers."""
        return self.th


class InitiatorAttempt(SecretStruct):
    """An attempt as the side that shows the code holds it, once it has answered PairingRequest."""

    code_id: Bytes16
    attempt: Bytes16
    initiator: PeerId
    joiner: PeerId
    commit: Bytes32
    prk: Bytes32
    th1: Bytes32
    challenge_frame: WireFrame

    @classmethod
    def begin(
        cls,
        *,
        auth_key: bytes,
        initiator: bytes,
        joiner: bytes,
        request_frame: bytes,
        ephemeral: bytes,
        nonce: bytes,
    ) -> "InitiatorAttempt":
        """Answer a PairingRequest of `joiner`. Raises ProtocolError.

        `ephemeral` and `nonce` are 32 random bytes each, fresh for this attempt. The caller has matched the
        request's code_id with the code that `auth_key` belongs to.
        """
        if len(nonce) != 32:
            raise ValueError("nonce has 32 bytes")
        _distinct(initiator, joiner)
        request = _decode(request_frame, PairingRequest)
        prk = keys.shared_prk(auth_key, ephemeral, request.eph)
        base = keys.transcript_base(initiator, joiner, request_frame)
        eph = keys.public_of(ephemeral)
        th0 = keys.th0(base, request.code_id, request.attempt, eph, nonce)
        proof = keys.mac(keys.key(prk, keys.INITIATOR_PROOF, th0), th0)
        challenge = encode(Challenge(request.code_id, request.attempt, eph, nonce, proof))
        return cls(
            code_id=request.code_id,
            attempt=request.attempt,
            initiator=initiator,
            joiner=joiner,
            commit=request.commit,
            prk=prk,
            th1=keys.th1(base, challenge),
            challenge_frame=challenge,
        )

    def open_response(self, frame: bytes, *, own_public_key: bytes | None = None) -> OpenedResponse:
        """Open ChallengeResponse: the joiner's proof, its commitment and its identity.

        Without `own_public_key` the comparison with this device's own key is left to :meth:`confirm`.
        Raises ProofFailedError when it does not open, else ProtocolError.
        """
        response = _of_attempt(_decode(frame, ChallengeResponse), self)
        opened = _open_identity(keys.key(self.prk, keys.SEAL["joiner"], self.th1), response.sealed, self.th1)
        info = identity.verify(
            "joiner",
            self.th1,
            self.joiner,
            opened.info,
            opened.signature,
            own_public_key=own_public_key,
            own_peer=self.initiator,
        )
        nonce = _nonce_of(info)
        if not keys.equal(keys.commitment(nonce), self.commit):
            raise ProtocolError("the revealed nonce is not the one committed to")
        return OpenedResponse(
            role="joiner",
            peer=self.joiner,
            th=self.th1,
            info_frame=opened.info,
            signature=opened.signature,
            info=info,
            check=keys.check_value(self.prk, self.th1, nonce),
        )

    def th2(self, response_frame: bytes) -> bytes:
        """Return the transcript hash that this side's device key signs."""
        return keys.th_next(self.th1, response_frame)

    def confirm(self, response_frame: bytes, info_frame: bytes, signature: bytes) -> Proven:
        """Seal the own identity, signed at th2, and finish. Raises ProtocolError as open_response does.

        Once per attempt: the frame is kept and repeated, never sealed again with another content.
        """
        own = decode_device_info(info_frame)
        if own.nonce is not msgspec.UNSET:
            raise ValueError("the initiator's info has no nonce")
        opened = self.open_response(response_frame, own_public_key=own.public_key)
        th2 = self.th2(response_frame)
        sealed = keys.seal(
            keys.key(self.prk, keys.SEAL["initiator"], th2), encode(Identity(info_frame, signature)), th2
        )
        frame = encode(ChallengeConfirmation(self.code_id, self.attempt, sealed))
        return Proven.derive(
            role="initiator",
            code_id=self.code_id,
            attempt=self.attempt,
            prk=self.prk,
            th1=self.th1,
            th2=th2,
            th3=keys.th_next(th2, frame),
            check=opened.check,
            confirmation_frame=frame,
        )


class JoinerAttempt(SecretStruct):
    """An attempt as the side that entered the code holds it, one for each candidate."""

    code_id: Bytes16
    attempt: Bytes16
    initiator: PeerId
    joiner: PeerId
    auth_key: Bytes32
    ephemeral: Bytes32
    nonce: Bytes32
    request_frame: WireFrame

    @classmethod
    def begin(
        cls,
        *,
        auth_key: bytes,
        route_key: bytes,
        initiator: bytes,
        joiner: bytes,
        attempt: bytes,
        ephemeral: bytes,
        nonce: bytes,
    ) -> "JoinerAttempt":
        """Begin an attempt with the candidate `initiator`; ProtocolError when that is this node itself.

        `attempt` (16), `ephemeral` and `nonce` (32 each) are random bytes, fresh for this candidate.
        """
        _distinct(initiator, joiner)
        if len(attempt) != 16 or len(nonce) != 32:
            raise ValueError("attempt has 16 bytes, nonce 32")
        identifier = code_id(route_key, initiator, joiner)
        request = PairingRequest(2, identifier, attempt, keys.public_of(ephemeral), keys.commitment(nonce))
        return cls(
            code_id=identifier,
            attempt=attempt,
            initiator=initiator,
            joiner=joiner,
            auth_key=auth_key,
            ephemeral=ephemeral,
            nonce=nonce,
            request_frame=encode(request),
        )

    def verify_challenge(self, frame: bytes) -> bytes:
        """Check the initiator's proof and return th1, which this side's device key signs.

        Raises ProofFailedError when the candidate does not know the code, else ProtocolError.
        """
        return self._proved(frame)[1]

    def respond(self, challenge_frame: bytes, info_frame: bytes, signature: bytes) -> bytes:
        """Return ChallengeResponse: the own identity, signed at th1, sealed. Verifies the challenge again.

        Once per attempt: the frame is kept and repeated, never sealed again with another content.
        """
        prk, th1 = self._proved(challenge_frame)
        own = decode_device_info(info_frame)
        if own.nonce is msgspec.UNSET or not keys.equal(own.nonce, self.nonce):
            raise ValueError("the joiner's info carries the nonce of this attempt")
        sealed = keys.seal(
            keys.key(prk, keys.SEAL["joiner"], th1), encode(Identity(info_frame, signature)), th1
        )
        return encode(ChallengeResponse(self.code_id, self.attempt, sealed))

    def open_confirmation(
        self, challenge_frame: bytes, response_frame: bytes, confirmation_frame: bytes
    ) -> tuple[Proven, OpenedConfirmation]:
        """Open ChallengeConfirmation, given the frames before it, and finish.

        Raises ProofFailedError when it does not open, else ProtocolError.
        """
        prk, th1 = self._proved(challenge_frame)
        # The own device key stands in the own response: no state beside the frames is needed to compare it.
        response = _of_attempt(_decode(response_frame, ChallengeResponse), self)
        own = _open_identity(keys.key(prk, keys.SEAL["joiner"], th1), response.sealed, th1)
        th2 = keys.th_next(th1, response_frame)
        confirmation = _of_attempt(_decode(confirmation_frame, ChallengeConfirmation), self)
        opened = _open_identity(keys.key(prk, keys.SEAL["initiator"], th2), confirmation.sealed, th2)
        info = identity.verify(
            "initiator",
            th2,
            self.initiator,
            opened.info,
            opened.signature,
            own_public_key=decode_device_info(own.info).public_key,
            own_peer=self.joiner,
        )
        proven = Proven.derive(
            role="joiner",
            code_id=self.code_id,
            attempt=self.attempt,
            prk=prk,
            th1=th1,
            th2=th2,
            th3=keys.th_next(th2, confirmation_frame),
            check=keys.check_value(prk, th1, self.nonce),
            confirmation_frame=None,
        )
        return proven, OpenedConfirmation(
            role="initiator",
            peer=self.initiator,
            th=th2,
            info_frame=opened.info,
            signature=opened.signature,
            info=info,
            check=proven.check,
        )

    def _proved(self, frame: bytes) -> tuple[bytes, bytes]:
        """Return (prk, th1) of a Challenge whose proof holds."""
        challenge = _of_attempt(_decode(frame, Challenge), self)
        prk = keys.shared_prk(self.auth_key, self.ephemeral, challenge.eph)
        base = keys.transcript_base(self.initiator, self.joiner, self.request_frame)
        th0 = keys.th0(base, self.code_id, self.attempt, challenge.eph, challenge.nonce)
        if not keys.equal(challenge.proof, keys.mac(keys.key(prk, keys.INITIATOR_PROOF, th0), th0)):
            raise ProofFailedError("the candidate does not know the code")
        return prk, keys.th1(base, frame)


def _distinct(initiator: bytes, joiner: bytes) -> None:
    if keys.equal(initiator, joiner):
        raise ProtocolError("both sides have the same peer id")


def _decode(frame: bytes, kind: type[F]) -> F:
    try:
        message = decode_wire(frame)
    except MalformedMessageError:
        raise ProtocolError(f"malformed frame instead of {kind.__name__}") from None
    if not isinstance(message, kind):
        raise ProtocolError(f"{type(message).__name__} instead of {kind.__name__}")
    return message


def _of_attempt(message: F, state: InitiatorAttempt | JoinerAttempt) -> F:
    same = keys.equal(message.code_id, state.code_id) and keys.equal(message.attempt, state.attempt)
    if not same:
        raise ProtocolError("frame of another attempt")
    return message


def _open_identity(key: bytes, sealed: bytes, th: bytes) -> Identity:
    try:
        return decode_identity(keys.unseal(key, sealed, th))
    except MalformedMessageError:
        raise ProtocolError("sealed identity is malformed") from None


def _nonce_of(info: DeviceInfo) -> bytes:
    if info.nonce is msgspec.UNSET:
        raise IdentityError("the joiner reveals no nonce")
    return info.nonce
