"""What each request of a client does: one function for each, from the request to its one reply.

Owns the replies and their error codes (messages/control_protocol.py). Never touches a socket, and never
decides about a device: it sends the user's decision on, together with what the user was shown.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET

from ...messages import control_protocol as c
from ...messages import to_session, to_supervisor, to_vault
from ...messages.base import CONTROL_LIMIT, Message, encode
from ...messages.session_names import actor_of_session
from ...messages.to_gateway import Actors, DeviceChanged, Devices, NodeIdentity, Reloaded, VaultError
from ...messages.types import SessionId
from ...protocol.code import CodeError, parse_code
from ..base import Send, now
from .actor_requests import ActorClient, RequestRefusedError
from .session_store import SessionRecord

READY_TIMEOUT_SECONDS = 10.0
"""Time that a request waits for a node that is just starting, or for a part of it that is restarting."""
_MAX_LISTED_SESSIONS = 128
_MAX_HINTS = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration sets for requests. `code_lifetime` is in seconds."""

    code_lifetime: float


def session_of_key(key: bytes) -> SessionId:
    """Return the session that a client's key makes: a repeated request reaches the same session."""
    return hashlib.sha256(b"spacedrive-session" + key).hexdigest()[:16]


def number_of_key(key: bytes) -> int:
    """Return the request number that belongs to a client's key, the same in every incarnation."""
    return int.from_bytes(hashlib.sha256(b"spacedrive-request" + key).digest()[:8], "big") >> 1


async def handle_request(request: c.Request, actors: ActorClient, settings: Settings) -> Message:
    """Return the reply to any request but Subscribe and WatchDevices, within about 20 seconds."""
    try:
        return await _handle(request, actors, settings)
    except RequestRefusedError as refused:
        if refused.busy:
            return c.Error(request.id, "busy", "the node has too much to do; try again later")
        return c.Error(request.id, "internal", "this part of the node is not running; try again")


async def _handle(request: c.Request, actors: ActorClient, settings: Settings) -> Message:
    match request:
        case c.StartPairing():
            return await _start_pairing(request, actors, settings)
        case c.JoinPairing():
            return await _join_pairing(request, actors)
        case c.Decide():
            return await _decide(request, actors)
        case c.CancelPairing():
            return await _cancel_pairing(request, actors)
        case c.ListSessions():
            return _list_sessions(request, actors)
        case c.ListDevices():
            return await _list_devices(request, actors)
        case c.RenameDevice(id=id, key=key, device_id=device, name=name):
            return await _change_device(
                id, key, actors, lambda number: to_vault.RenameDevice(number, device, name)
            )
        case c.ForgetDevice(id=id, key=key, device_id=device):
            return await _change_device(id, key, actors, lambda number: to_vault.ForgetDevice(number, device))
        case c.Status():
            return actors.state.status(request.id, await actors.ask_supervisor())
        case c.ListActors():
            return await _list_actors(request, actors)
        case c.Reload():
            return await _reload(request, actors)
        case c.Shutdown():
            await actors.send(Send("supervisor", to_supervisor.Shutdown("asked for on the control socket")))
            return c.Done(request.id)
        case c.Subscribe() | c.WatchDevices():
            raise AssertionError("client_connection.py handles subscriptions")


async def _start_pairing(request: c.StartPairing, actors: ActorClient, settings: Settings) -> Message:
    session = session_of_key(request.key)
    lifetime = settings.code_lifetime if request.lifetime is None else request.lifetime

    def make(identity: NodeIdentity) -> Message:
        return to_session.StartPairing(session, lifetime, identity.peer, identity.public_key)

    return await _create_session(request.id, session, actors, make)


async def _join_pairing(request: c.JoinPairing, actors: ActorClient) -> Message:
    # The command line has parsed the text already, to refuse a mistyped word before it connects. It is parsed
    # again here because any program may connect: the session is given 16 bytes and hints, never a client's
    # text.
    try:
        code, hints = parse_code(request.code)
    except CodeError as error:
        return c.Error(request.id, "bad_code", str(error)[:200])
    session = session_of_key(request.key)
    sessions = actors.state.sessions
    if sessions.get(session) is None and sessions.shows_code(code):
        return c.Error(request.id, "bad_code", "this device is showing that code; enter it on the other one")
    other = sessions.claim_entered_code(code, session)
    if other is not None:
        return c.Error(request.id, "busy", f"this device is entering that code already, in session {other}")

    def make(identity: NodeIdentity) -> Message:
        return to_session.JoinPairing(
            session, code, identity.peer, identity.public_key, hints[:_MAX_HINTS], request.timeout
        )

    try:
        return await _create_session(request.id, session, actors, make)
    finally:  # also when the client has gone, and this is cancelled
        sessions.end_beginning(session)


async def _create_session(
    id: int, session: SessionId, actors: ActorClient, make: Callable[[NodeIdentity], Message]
) -> Message:
    """Have the session created, unless it exists; reply when it has shown itself, or has already ended."""
    state = actors.state
    if state.sessions.get(session) is None:
        await actors.wait_until(lambda: not state.missing_to_pair(), READY_TIMEOUT_SECONDS)
        missing = state.missing_to_pair()
        if state.identity is None or missing:
            return c.Error(id, "not_ready", f"the node is not ready; missing: {missing}"[:200])
        # The supervisor makes the process when it routes this message. A session does not reply: it exists
        # for the gateway from its first view on, or from the report of its end.
        send = Send(actor_of_session(session), make(state.identity), id=os.urandom(16))
        try:
            exists = await actors.send_and_wait([send], until=lambda: state.sessions.get(session) is not None)
        except RequestRefusedError as refused:
            if refused.busy:
                return c.Error(id, "busy", f"{refused.reason or 'the node is full'}; try again later"[:200])
            return c.Error(id, "stopping", "the node is stopping")
        if not exists:
            return c.Error(id, "internal", "the pairing did not start in time; try again")
    return c.SessionStarted(id, session)


async def _decide(request: c.Decide, actors: ActorClient) -> Message:
    record = actors.state.sessions.get(request.session)
    if record is None:
        return _no_such_session(request.id)
    if record.accepted is None:
        if record.outcome is not None:
            return c.Error(request.id, "not_deciding", f"the pairing has ended: {record.outcome}")
        if record.confirmation is None:
            return c.Error(request.id, "not_deciding", "no device has proved itself yet")
    elif record.accepted is not request.accept:
        return _already_decided(request.id, record.accepted)
    shown = record.confirmation
    if request.public_key is not None and (shown is None or shown.device.public_key != request.public_key):
        return c.Error(
            request.id, "not_deciding", "the pairing does not show the device that was decided about"
        )
    if not record.decision_is_final:
        record.decision = request.accept
        # The session confirms the decision in its view, not by a reply. Until then another client, or the
        # other side, may have been first; so the reply below is taken from what the session shows.
        sends = _decision_messages(record, request.accept)
        if not await actors.send_and_wait(sends, until=lambda: record.decision_is_final):
            return c.Error(request.id, "internal", "the pairing does not answer; see what becomes of it")
    if record.view is not None and record.view.accepted is not None:
        if record.view.accepted is request.accept:
            return c.Done(request.id)
        return _already_decided(request.id, record.view.accepted)
    return c.Error(request.id, "not_deciding", f"the pairing has ended: {record.outcome}")


def _decision_messages(record: SessionRecord, accept: bool) -> list[Send]:
    """Return the messages that carry the user's decision.

    An acceptance goes to the vault first, and names the very key that was shown: the vault stores no other.
    """
    decide = Send(actor_of_session(record.session), to_session.Decide(accept), id=os.urandom(16))
    if not accept or record.confirmation is None:
        return [decide]
    shown = record.confirmation
    accepted = to_vault.Accept(record.session, shown.device.public_key, shown.th3)
    return [Send("vault", accepted, id=os.urandom(16)), decide]


async def _cancel_pairing(request: c.CancelPairing, actors: ActorClient) -> Message:
    record = actors.state.sessions.get(request.session)
    if record is None:
        return _no_such_session(request.id)
    if record.outcome is None and record.accepted is None:
        send = Send(actor_of_session(record.session), to_session.CancelPairing(), id=os.urandom(16))
        if not await actors.send_and_wait([send], until=lambda: record.decision_is_final):
            return c.Error(request.id, "internal", "the pairing does not answer; see what becomes of it")
    if record.outcome == "paired" or (record.outcome is None and record.accepted is True):
        return c.Error(request.id, "already_decided", "the decision is made and cannot be taken back")
    return c.Done(request.id)


def _list_sessions(request: c.ListSessions, actors: ActorClient) -> Message:
    states = [_without_qr(state) for state in actors.state.sessions.states(now())]
    if request.after is not UNSET:
        after = request.after
        states = sorted((s for s in states if s.session > after), key=lambda state: state.session)
    return _fit_into_frame(
        lambda count: c.Sessions(request.id, tuple(states[:count]), count < len(states) or UNSET),
        min(len(states), _MAX_LISTED_SESSIONS),
    )


async def _list_devices(request: c.ListDevices, actors: ActorClient) -> Message:
    answer = await _call_vault(actors, lambda number: to_vault.ListDevices(number, request.after))
    match answer:
        case Devices():
            return c.DeviceList(request.id, answer.devices, answer.more)
        case VaultError(message=message):
            return c.Error(request.id, "not_ready", message)
    return _no_vault(request.id, actors)


async def _change_device(id: int, key: bytes, actors: ActorClient, make: Callable[[int], Message]) -> Message:
    """Have the vault rename or forget a device. The vault answers a repeated key from its record."""
    match await _call_vault(actors, make, number=number_of_key(key), id=key):
        case DeviceChanged():
            return c.Done(id)
        case VaultError(code="no_such_device", message=message):
            return c.Error(id, "no_such_device", message)
        case VaultError(code="not_stored", message=message):
            return c.Error(id, "not_ready", message)
        case VaultError(message=message):
            return c.Error(id, "invalid_name", message)
    return _no_vault(id, actors)


async def _call_vault(
    actors: ActorClient, make: Callable[[int], Message], *, number: int | None = None, id: bytes | None = None
) -> Message | None:
    """Return the vault's answer; None if it is not there in time, as in the middle of a restart.

    A vault that runs is asked although it is not ready: its disk may be full, and it can still be read.
    """
    if not await actors.wait_until(lambda: actors.state.has_reported("vault"), READY_TIMEOUT_SECONDS):
        return None
    return await actors.call("vault", make, number=number, id=id)


def _no_vault(id: int, actors: ActorClient) -> c.Error:
    if actors.state.is_ready("vault"):
        return c.Error(id, "not_ready", "the vault did not answer in time; try again")
    return c.Error(id, "not_ready", f"the node is not ready; missing: {actors.state.missing('vault')}"[:200])


async def _list_actors(request: c.ListActors, actors: ActorClient) -> Message:
    if request.after is UNSET:
        answer = await actors.call("supervisor", to_supervisor.ListActors)
        if not isinstance(answer, Actors):
            return c.Error(request.id, "internal", "the supervisor did not answer in time; try again")
        found = actors.last_list = answer.actors
    else:
        # The pages of one list are cut from one answer: processes come and go between two of them.
        names = [row.actor for row in actors.last_list]
        if request.after not in names:
            return c.Error(request.id, "busy", "the list of processes was made anew; ask for it again")
        found = actors.last_list[names.index(request.after) + 1 :]
    return _fit_into_frame(
        lambda count: c.ActorList(request.id, found[:count], count < len(found) or UNSET), len(found)
    )


async def _reload(request: c.Reload, actors: ActorClient) -> Message:
    """Have the settings read again. The supervisor answers a repeated key from its record."""
    answer = await actors.call(
        "supervisor",
        lambda number: to_supervisor.Reload(number, request.check),
        number=number_of_key(request.key),
        id=request.key,
    )
    if isinstance(answer, Reloaded):
        return c.Reloaded(request.id, answer.report)
    return c.Error(request.id, "not_ready", "the supervisor did not answer in time; try again")


def _fit_into_frame(make: Callable[[int], Message], count: int) -> Message:
    """Return `make(n)` for an n up to `count` whose frame is small enough; `make` says that others follow."""
    while count and len(encode(make(count))) > CONTROL_LIMIT:
        count -= max(count // 8, 1)
    return make(count)


def _without_qr(state: c.SessionState) -> c.SessionState:
    return msgspec.structs.replace(state, qr=None)


def _no_such_session(id: int) -> c.Error:
    return c.Error(id, "no_such_session", "the node knows no such session")


def _already_decided(id: int, accepted: bool) -> c.Error:
    decision = "accepted" if accepted else "rejected"
    return c.Error(id, "already_decided", f"the device was {decision} before")
