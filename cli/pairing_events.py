"""The events of a pairing as scripts read them (docs/interfaces.md, "sdnode pair and join").

Pure: session states in, events out, each once and in order. Never touches a terminal or a socket.
"""

from dataclasses import dataclass
from typing import Any

from ..messages.control_protocol import SessionState, ShownDevice
from ..messages.outcome_texts import BY_OUTCOME
from ..messages.types import Outcome
from ..protocol.peer_ids import peer_id_text

Event = dict[str, Any]


@dataclass
class EventMaker:
    """Turns the states of one session into events; remembers which it has made."""

    _code: bool = False
    _stage: str | None = None
    _confirm: bool = False
    _ended: bool = False

    def events(self, state: SessionState) -> list[Event]:
        """Return the events for what is new in `state`."""
        made: list[Event] = []
        if self._ended:
            return made
        if state.words is not None and not self._code:
            self._code = True
            made.append(
                {
                    "event": "code",
                    "session": state.session,
                    "words": state.words,
                    "qr": state.qr,
                    "expires_in": None if state.expires_in is None else round(state.expires_in, 1),
                }
            )
        if state.stage != self._stage:
            self._stage = state.stage
            made.append({"event": "stage", "session": state.session, "stage": state.stage})
        if state.outcome is not None:
            self._ended = True
            made.append(_end_event(state))
        elif state.device is not None and state.check is not None and not self._confirm:
            self._confirm = True
            made.append(
                {
                    "event": "confirm",
                    "session": state.session,
                    "device": _device_object(state.device),
                    "check": state.check,
                }
            )
        return made


def failed_event(session: str | None, outcome: Outcome, message: str) -> Event:
    """Return the event of a pairing that ended otherwise than `paired`."""
    return {
        "event": "failed",
        "session": session,
        "outcome": outcome,
        "message": message or BY_OUTCOME[outcome],
    }


def grouped_id(device_id: str) -> str:
    """Return the id of a device, a hash of its key, in groups of four digits for people to compare."""
    return " ".join(device_id[start : start + 4] for start in range(0, len(device_id), 4))


def _device_object(device: ShownDevice) -> dict[str, str]:
    return {"id": device.device_id.hex(), "name": device.name, "os": device.os}


def _end_event(state: SessionState) -> Event:
    assert state.outcome is not None
    if state.outcome != "paired":
        return failed_event(state.session, state.outcome, state.message)
    device = None
    if state.device is not None:
        device = {**_device_object(state.device), "peer_id": peer_id_text(state.device.peer)}
    return {
        "event": "paired",
        "session": state.session,
        "device": device,
        "fingerprint": state.fingerprint,
        "seconds": None if state.seconds is None else round(state.seconds, 3),
        "path": state.path,
        "transport": state.transport,
    }
