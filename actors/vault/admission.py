"""Decides whether a device may be stored: compares what a session claims with what other actors reported.

A session that has been taken over can claim anything in StoreDevice. It is admitted only if the user accepted
exactly this key in this session (from the gateway), if the peer carried frames of this session (from the
swarm), and if the device's signature verifies, which the vault checks itself. Implements docs/protocol.md,
"Identity", for the side that stores. Pure; never writes to the store.
"""

from collections.abc import Callable

from ...messages.base import MalformedMessageError
from ...messages.errors import SpacedriveNodeError
from ...messages.peer_protocol import DecisionReceived, DeviceInfo, PairingDecision, WireMessage, decode_wire
from ...messages.to_vault import StoreDevice
from ...protocol.identity import IdentityError, verify
from ...protocol.keys import fingerprint
from ...protocol.pairing_clock import order_of_pairing
from .device_record import MAX_DECISION_BYTES, Record
from .session_evidence import SessionEvidence


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
        _check_decision_frames(message)
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


def _check_decision_frames(message: StoreDevice) -> None:
    """Check the frames that the store will repeat, and be asked about, once the session has ended."""
    own = _decode_as(message.decision, PairingDecision)
    other = _decode_as(message.peer_decision, PairingDecision)
    reply = _decode_as(message.reply, DecisionReceived)
    if len({(frame.code_id, frame.attempt) for frame in (own, other, reply)}) != 1:
        raise NotAdmittedError("the frames of the ending belong to different attempts")
    if message.decision == message.peer_decision:
        raise NotAdmittedError("both decisions are the same frame")


def _decode_as(data: bytes, kind: Callable[..., WireMessage]) -> WireMessage:
    try:
        if len(data) <= MAX_DECISION_BYTES and type(frame := decode_wire(data)) is kind:
            return frame
    except MalformedMessageError:
        pass  # refused below, like a frame of another kind
    raise NotAdmittedError(f"not a {getattr(kind, '__name__', 'frame')} of an honest size")
