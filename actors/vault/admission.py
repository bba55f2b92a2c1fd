"""Decides whether a device may be stored: compares what a session claims with what other actors reported.

A session that has been taken over can claim anything in StoreDevice. It is admitted only if the user accepted
exactly this key in this session (from the gateway), if the peer carried frames of this session (from the
swarm), if the device's signature verifies, and if the transcript is the one for which the vault has signed
itself. Implements docs/protocol.md, "Identity", for the side that stores. Pure; never writes to the store.
"""

from collections.abc import Callable

from ...messages.base import WIRE_LIMIT, MalformedMessageError
from ...messages.errors import SpacedriveNodeError
from ...messages.peer_protocol import (
    ChallengeConfirmation,
    ChallengeResponse,
    DecisionReceived,
    DeviceInfo,
    PairingDecision,
    WireMessage,
    decode_wire,
)
from ...messages.to_vault import StoreDevice
from ...protocol.identity import IdentityError, verify
from ...protocol.keys import OTHER_ROLE, fingerprint, th_next
from ...protocol.pairing_clock import order_of_pairing
from .device_record import MAX_DECISION_BYTES, Record
from .session_evidence import SessionEvidence, SignedTranscript


class NotAdmittedError(SpacedriveNodeError):
    """The device must not be stored; the text says why, without a secret."""


class Admission:
    """Checks StoreDevice for the device that has this public key and peer id."""

    def __init__(self, evidence: SessionEvidence, own_public_key: bytes, own_peer: bytes) -> None:
        self._evidence = evidence
        self._own_public_key = own_public_key
        self._own_peer = own_peer

    def check(self, session: str, message: StoreDevice) -> DeviceInfo:
        """Return the device's verified description. Raises NotAdmittedError."""
        acceptance = self._evidence.acceptance(session)
        if acceptance is None:
            raise NotAdmittedError("the user has not accepted a device in this session")
        if not self._evidence.has_peer(session, message.peer):
            raise NotAdmittedError("that peer has carried nothing of this session")
        try:
            info = verify(
                message.role,
                message.th,
                message.peer,
                message.info,
                message.signature,
                own_public_key=self._own_public_key,
                own_peer=self._own_peer,
            )
        except IdentityError as error:
            raise NotAdmittedError(f"identity refused: {error}") from None
        # The user accepted a key, not a session: what is stored must be the device that was shown.
        if (info.public_key, message.th3) != (acceptance.public_key, acceptance.th3):
            raise NotAdmittedError("the user accepted another device or transcript")
        _check_transcript(self._evidence.signed(session), message)
        _check_frames(message)
        return info

    def make_record(
        self, session: str, message: StoreDevice, info: DeviceInfo, *, label: str | None, stored_at: float
    ) -> Record:
        """Return the record of a device that has passed :meth:`check`; its secret is not in it yet."""
        return Record(
            generation=0,
            device_id=info.device_id,
            state="unconfirmed",
            session=session,
            th3=message.th3,
            peer=message.peer,
            public_key=info.public_key,
            name=info.name,
            label=label,
            os=info.os,
            app_version=info.app_version,
            fingerprint=fingerprint(message.secret),
            stored_at=stored_at,
            paired_at=None,
            replaced_at=None,
            order=order_of_pairing(self._evidence.signed_version(session), info.app_version),
            decision=message.decision,
            expected_mac=message.expected_mac,
            peer_decision=message.peer_decision,
            reply=message.reply,
        )


def _check_transcript(signed: SignedTranscript | None, message: StoreDevice) -> None:
    """Check that th3 follows from the very transcript for which this device and the other have signed.

    Otherwise a session could have the vault sign for one pairing, and store another.
    """
    if signed is None or signed.role != OTHER_ROLE[message.role]:
        raise NotAdmittedError("this device has not signed in this session, or in another role")
    th1, th2 = (message.th, signed.th) if message.role == "joiner" else (signed.th, message.th)
    if (th_next(th1, message.response), th_next(th2, message.confirmation)) != (th2, message.th3):
        raise NotAdmittedError("the transcript is not the one that was signed")


def _check_frames(message: StoreDevice) -> None:
    """Check the frames of one attempt, of which the store will repeat some once the session has ended."""
    frames = (
        _decode_as(message.response, ChallengeResponse),
        _decode_as(message.confirmation, ChallengeConfirmation),
        _decode_as(message.decision, PairingDecision, MAX_DECISION_BYTES),
        _decode_as(message.peer_decision, PairingDecision, MAX_DECISION_BYTES),
        _decode_as(message.reply, DecisionReceived, MAX_DECISION_BYTES),
    )
    if len({(frame.code_id, frame.attempt) for frame in frames}) != 1:
        raise NotAdmittedError("the frames belong to different attempts")
    if message.decision == message.peer_decision:
        raise NotAdmittedError("both decisions are the same frame")


def _decode_as(data: bytes, kind: Callable[..., WireMessage], max_bytes: int = WIRE_LIMIT) -> WireMessage:
    try:
        if len(data) <= max_bytes and type(frame := decode_wire(data)) is kind:
            return frame
    except MalformedMessageError:
        pass  # refused below, like a frame of another kind
    raise NotAdmittedError(f"not a {getattr(kind, '__name__', 'frame')} of an honest size")
