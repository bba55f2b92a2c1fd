"""Sessions, devices, processes and status as the page reads them.

JSON, with ids and keys in hex, and QR codes as paths. Pure.
What is shown of a code is its words and its QR code, which only a page with the token is sent.
"""

from collections.abc import Callable, Sequence

import msgspec

from ...messages.control_protocol import NodeStatus, SessionState
from ...messages.to_gateway import ActorInfo, Device
from .live_state import Body

MAX_SHOWN_DEVICES = 1000
MAX_SHOWN_PROCESSES = 300
_QR_MARGIN_MODULES = 4


def session_body(
    state: SessionState, qr: Body | None, read_at: float, now: Callable[[], float]
) -> Callable[[], Body]:
    """Return what makes the body of a session: the seconds that its code has left are those of that moment.

    `qr` is its QR code, if it is drawn; `read_at` is when the state was read, on the clock `now`.
    """
    device = state.device
    body: Body = {
        "session": state.session,
        "role": state.role,
        "stage": state.stage,
        "words": None if state.words is None else state.words.split(),
        "qr": qr,
        "device": None
        if device is None
        else {
            "name": device.name,
            "os": device.os,
            "peer_id": device.peer_id,
            "public_key": device.public_key.hex(),
        },
        "check": state.check,
        "accepted": state.accepted,
        "outcome": state.outcome,
        "message": state.message,
        "fingerprint": state.fingerprint,
        "seconds": state.seconds,
        "path": state.path,
        "transport": state.transport,
    }

    def make() -> Body:
        left = None if state.expires_in is None else max(0.0, state.expires_in - (now() - read_at))
        return {**body, "expires_in": left}

    return make


def without_clock(state: SessionState) -> SessionState:
    """Return the state without what changes by itself, to compare it."""
    return msgspec.structs.replace(state, expires_in=None)


def devices_body(devices: Sequence[Device]) -> Body:
    """Return the list of devices, of which a page shows so many."""
    rows = [
        {
            "id": device.device_id.hex(),
            "name": device.name,
            "os": device.os,
            "peer_id": device.peer_id,
            "state": device.state,
            "paired_at": device.paired_at,
            "fingerprint": device.fingerprint,
        }
        for device in devices[:MAX_SHOWN_DEVICES]
    ]
    return {"devices": rows, "total": len(devices)}


def processes_body(actors: Sequence[ActorInfo]) -> Body:
    """Return the list of processes in order of start, of which a page shows so many."""
    rows = [
        {
            "actor": actor.actor,
            "pid": actor.pid,
            "state": actor.state,
            "restarts": actor.restarts,
            "uptime_seconds": round(actor.uptime_seconds, 1),
            "private_bytes": actor.private_bytes,
        }
        for actor in actors[:MAX_SHOWN_PROCESSES]
    ]
    return {"processes": rows, "total": len(actors)}


def status_body(status: NodeStatus) -> Body:
    """Return how the node is."""
    return {
        "name": status.name,
        "peer_id": status.peer_id if status.peer else "",
        "version": status.version,
        "addresses": list(status.addresses),
        "reachability": status.reachability,
        "dht_peers": status.dht_peers,
        "sessions_active": status.sessions_active,
        "sessions_limit": status.sessions_limit,
        "ready": status.ready,
        "missing": list(status.missing),
    }


def qr_path(text: str | None, words: str) -> Body:
    """Return a QR code as the path of an SVG image, with the side of the image in modules.

    `text` is all that helps to find this device; the words, which suffice, if it is None or too long.
    """
    import segno

    words_only = "spacedrive:pair?v=2&w=" + "-".join(words.split())
    try:
        code = segno.make(text or words_only, error="l", micro=False)
    except ValueError:
        code = segno.make(words_only, error="l", micro=False)
    rows = [[bool(dark) for dark in row] for row in code.matrix_iter(border=_QR_MARGIN_MODULES)]
    path = []
    for y, row in enumerate(rows):
        x = 0
        while x < len(row):
            begin = x
            while x < len(row) and row[x]:
                x += 1
            if x > begin:
                path.append(f"M{begin} {y}h{x - begin}v1h-{x - begin}z")
            x += 1
    return {"side": len(rows), "path": "".join(path)}
