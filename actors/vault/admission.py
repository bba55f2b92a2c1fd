"""Whether a device may be stored: everything that a session claims is checked against what others said.

Pure. Implements docs/protocol.md, "Messages" (the vault verifies the signature itself) and "Ending".
"""

from collections.abc import Callable

from ...messages.base import MalformedMessageError
from ...messages.errors import SpacedriveNodeError
from ...messages.peer_protocol import DecisionReceived, DeviceInfo, PairingDecision, WireMessage, decode_wire
from ...messages.to_vault import StoreDevice
from ...protocol.identity import IdentityError, verify
from ...protocol.keys import fingerprint
from ...protocol.pairing_clock import order_of_pairing
from .device_record import DECISION_LIMIT, Record
from .session_evidence import Trust


class NotAdmittedError(SpacedriveNodeError):
    """The device is not stored; the text says why, without a secret."""


class Admission:
    """Checks StoreDevice for this device, whose own key and peer id are given."""

    def __init__(self, trust: Trust, own_public_key: bytes, own_peer: bytes) -> None:
        self._trust = trust
        self._own_public_key = own_public_key
        self._own_peer = own_peer

    def check(self, session: str, message: StoreDevice) -> DeviceInfo:
        """Return the device's verified description. Raises NotAdmittedError."""
        accepted = self._trust.accepted(session)
        if accepted is None:
            raise NotAdmittedError("the user has not accepted a device in this session")
        if not self._trust.vouched(session, message.peer):
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
        if (info.public_key, message.th3) != (accepted.public_key, accepted.th3):
            raise NotAdmittedError("the user accepted another device or transcript")
        _check_ending(message)
        return info

    def record(
        self, session: str, message: StoreDevice, info: DeviceInfo, *, label: str | None, stored_at: float
    ) -> Record:
        """Make the record of a device that has passed :meth:`check`."""
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
            order=order_of_pairing(self._trust.stated(session), info.app_version),
            decision=message.decision,
            expected_mac=message.expected_mac,
            peer_decision=message.peer_decision,
            reply=message.reply,
        )


def _check_ending(message: StoreDevice) -> None:
    own = _decode(message.decision, PairingDecision)
    other = _decode(message.peer_decision, PairingDecision)
    reply = _decode(message.reply, DecisionReceived)
    if len({(frame.code_id, frame.attempt) for frame in (own, other, reply)}) != 1:
        raise NotAdmittedError("the frames of the ending belong to different attempts")
    if message.decision == message.peer_decision:
        raise NotAdmittedError("both decisions are the same frame")


def _decode(data: bytes, kind: Callable[..., WireMessage]) -> WireMessage:
    try:
        if len(data) <= DECISION_LIMIT and type(frame := decode_wire(data)) is kind:
            return frame
    except MalformedMessageError:
        pass  # said below, together with a frame of another kind
    raise NotAdmittedError(f"not a {getattr(kind, '__name__', 'frame')} of an honest size")
