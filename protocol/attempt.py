"""The cryptography of one attempt up to ChallengeConfirmation, for both roles.

Implements exchanges 1 and 2 of docs/protocol.md, "The exchanges". States are immutable and go into
checkpoints as they are, so a method takes the earlier frames as arguments where it needs them; all
randomness is passed in. Frames go in and come out as bytes, because hashes cover the bytes that were sent.
Never decides when something happens: expiry, the claim of the code, repeats and storing are the session's.
Whatever a peer can cause is a ProtocolError; a ValueError is a mistake of the caller.

    initiator                                   joiner
                                                begin → request_frame
    begin(request_frame) → challenge_frame
                                                verify_challenge → th1 (before it reveals anything of itself)
                                                vault signs th1
                                                respond → response frame
    open_response → OpenedIdentity
    th2; vault signs th2
    confirm → PairingSecrets, with confirmation_frame
                                                open_confirmation → PairingSecrets, OpenedIdentity
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
from .pairing_secrets import PairingSecrets

__all__ = [
    "IdentityError",
    "InitiatorAttempt",
    "JoinerAttempt",
    "OpenedIdentity",
    "PairingSecrets",
    "ProofFailedError",
    "ProtocolError",
]

F = TypeVar("F", PairingRequest, Challenge, ChallengeResponse, ChallengeConfirmation)


class OpenedIdentity(SecretStruct):
    """The other side as it has proved itself: what StoreDevice needs, and the check value.

    `role` and `peer` are the other side's. `th` is the transcript hash that its signature covers: th1 of a
    joiner, th2 of an initiator. `info` is `info_frame` decoded and checked.
    """

    role: Role
    peer: PeerId
    th: Bytes32
    info_frame: bytes
    signature: Bytes64
    info: DeviceInfo
    check: str


class InitiatorAttempt(SecretStruct):
    """An attempt at the side that shows the code, which has answered PairingRequest."""

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
        """Answer a PairingRequest of `joiner` with a Challenge, which proves the code. Raises ProtocolError.

        `ephemeral` and `nonce` are 32 random bytes each, fresh for this attempt. The caller has checked that
        the request's code_id is the one of the code that `auth_key` belongs to.
        """
        if len(nonce) != 32:
            raise ValueError("nonce has 32 bytes")
        _require_different_peers(initiator, joiner)
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

    def open_response(self, frame: bytes, *, own_public_key: bytes | None = None) -> OpenedIdentity:
        """Return the joiner's identity from its ChallengeResponse, with everything in it checked.

        That the frame opens is the joiner's proof of the code. Without `own_public_key` (this device's key)
        the comparison with it is left to :meth:`confirm`.
        Raises ProofFailedError when the frame does not open, ProtocolError for everything else.
        """
        response = _require_attempt(_decode(frame, ChallengeResponse), self)
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
        return OpenedIdentity(
            role="joiner",
            peer=self.joiner,
            th=self.th1,
            info_frame=opened.info,
            signature=opened.signature,
            info=info,
            check=keys.check_value(self.prk, self.th1, nonce),
        )

    def th2(self, response_frame: bytes) -> bytes:
        """Return the transcript hash that this side's device key signs, 32 bytes."""
        return keys.th_next(self.th1, response_frame)

    def confirm(self, response_frame: bytes, info_frame: bytes, signature: bytes) -> PairingSecrets:
        """Seal this side's identity, signed over th2, and derive the secrets. Raises as open_response does.

        Call it once per attempt: the seal's key may seal one plaintext only (keys.seal), so the caller keeps
        the frame and repeats those bytes.
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
        return PairingSecrets.derive(
            role="initiator",
            code_id=self.code_id,
            attempt=self.attempt,
            prk=self.prk,
            th1=self.th1,
            th2=th2,
            th3=keys.th_next(th2, frame),
            check=opened.check,
            response_frame=response_frame,
            confirmation_frame=frame,
        )


class JoinerAttempt(SecretStruct):
    """An attempt at the side that entered the code; it makes one for each candidate."""

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
        """Make the PairingRequest for the candidate `initiator`. Raises ProtocolError if that is `joiner`.

        `attempt` (16), `ephemeral` and `nonce` (32 each) are random bytes, fresh for this candidate. The
        nonce is committed to here, and revealed with the joiner's identity only.
        """
        _require_different_peers(initiator, joiner)
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
        """Check the initiator's proof of the code and return th1, which this side's device key signs.

        The joiner has revealed nothing of itself up to here, and does not if this raises: ProofFailedError
        when the candidate does not know the code, ProtocolError for everything else.
        """
        return self._verified(frame)[1]

    def respond(self, challenge_frame: bytes, info_frame: bytes, signature: bytes) -> bytes:
        """Return the frame ChallengeResponse: this side's identity, signed over th1, sealed.

        Verifies the challenge again: the state holds nothing that is derived from it. Call it once per
        attempt: the seal's key may seal one plaintext only (keys.seal), so the caller keeps the frame and
        repeats it. Raises as :meth:`verify_challenge` does.
        """
        prk, th1 = self._verified(challenge_frame)
        own = decode_device_info(info_frame)
        if own.nonce is msgspec.UNSET or not keys.equal(own.nonce, self.nonce):
            raise ValueError("the joiner's info carries the nonce of this attempt")
        sealed = keys.seal(
            keys.key(prk, keys.SEAL["joiner"], th1), encode(Identity(info_frame, signature)), th1
        )
        return encode(ChallengeResponse(self.code_id, self.attempt, sealed))

    def open_confirmation(
        self, challenge_frame: bytes, response_frame: bytes, confirmation_frame: bytes
    ) -> tuple[PairingSecrets, OpenedIdentity]:
        """Return the secrets, and the initiator's identity from its ChallengeConfirmation, all checked.

        Raises ProofFailedError when the frame does not open, ProtocolError for everything else.
        """
        prk, th1 = self._verified(challenge_frame)
        # The initiator must not show this device's own key. This side's response contains that key, and this
        # side can open it, so the key need not be kept in the state.
        response = _require_attempt(_decode(response_frame, ChallengeResponse), self)
        own = _open_identity(keys.key(prk, keys.SEAL["joiner"], th1), response.sealed, th1)
        th2 = keys.th_next(th1, response_frame)
        confirmation = _require_attempt(_decode(confirmation_frame, ChallengeConfirmation), self)
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
        secrets = PairingSecrets.derive(
            role="joiner",
            code_id=self.code_id,
            attempt=self.attempt,
            prk=prk,
            th1=th1,
            th2=th2,
            th3=keys.th_next(th2, confirmation_frame),
            check=keys.check_value(prk, th1, self.nonce),
            response_frame=response_frame,
            confirmation_frame=confirmation_frame,
        )
        return secrets, OpenedIdentity(
            role="initiator",
            peer=self.initiator,
            th=th2,
            info_frame=opened.info,
            signature=opened.signature,
            info=info,
            check=secrets.check,
        )

    def _verified(self, frame: bytes) -> tuple[bytes, bytes]:
        """Return (prk, th1) of a Challenge, once its proof is verified. Raises as verify_challenge does."""
        challenge = _require_attempt(_decode(frame, Challenge), self)
        prk = keys.shared_prk(self.auth_key, self.ephemeral, challenge.eph)
        base = keys.transcript_base(self.initiator, self.joiner, self.request_frame)
        th0 = keys.th0(base, self.code_id, self.attempt, challenge.eph, challenge.nonce)
        if not keys.equal(challenge.proof, keys.mac(keys.key(prk, keys.INITIATOR_PROOF, th0), th0)):
            raise ProofFailedError("the candidate does not know the code")
        return prk, keys.th1(base, frame)


def _require_different_peers(initiator: bytes, joiner: bytes) -> None:
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


def _require_attempt(message: F, state: InitiatorAttempt | JoinerAttempt) -> F:
    if not (keys.equal(message.code_id, state.code_id) and keys.equal(message.attempt, state.attempt)):
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
