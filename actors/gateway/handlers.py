"""What each request of a client does: one function for each, from the request to its one reply.

Owns the answers and their error codes (messages/control_protocol.py). Never touches a socket, and never
decides about a device: it sends the user's decision on, together with what the user was shown.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ...messages import control_protocol as c
from ...messages import to_session, to_supervisor, to_vault
from ...messages.base import CONTROL_LIMIT, Message, encode
from ...messages.session_names import actor_of_session
from ...messages.to_gateway import Actors, DeviceChanged, Devices, NodeIdentity, VaultError
from ...messages.types import SessionId
from ...protocol.code import CodeError, parse_code
from ..base import Send, now
from .actor_requests import Exchange, RequestRefusedError
from .node_state import Record

READY_WAIT = 5.0
"""Seconds that a pairing waits for a node that is just starting, or a part of it that is restarting."""
_MOST_LISTED = 128
_HINTS = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about requests."""

    code_lifetime: float


def session_of(key: bytes) -> SessionId:
    """Return the session that a client's key makes: a repeated request reaches the same one."""
    return hashlib.sha256(b"spacedrive-session" + key).hexdigest()[:16]


def number_of(key: bytes) -> int:
    """Return the request number that belongs to a client's key, the same in every incarnation."""
    return int.from_bytes(hashlib.sha256(b"spacedrive-request" + key).digest()[:8], "big") >> 1


async def answer(request: c.Request, exchange: Exchange, settings: Settings) -> Message:
    """Return the reply to any request but Subscribe, within about 15 seconds."""
    try:
        return await _answer(request, exchange, settings)
    except RequestRefusedError as refused:
        if refused.busy:
            return c.Error(request.id, "busy", "the node has too much to do; try again later")
        return c.Error(request.id, "internal", "this part of the node is not running; try again")


async def _answer(request: c.Request, exchange: Exchange, settings: Settings) -> Message:
    match request:
        case c.StartPairing():
            return await _start(request, exchange, settings)
        case c.JoinPairing():
            return await _join(request, exchange)
        case c.Decide():
            return await _decide(request, exchange)
        case c.CancelPairing():
            return await _cancel(request, exchange)
        case c.ListSessions():
            return _list_sessions(request, exchange)
        case c.ListDevices():
            return await _list_devices(request, exchange)
        case c.RenameDevice(id=id, key=key, device_id=device, name=name):
            return await _change(
                id, key, exchange, lambda number: to_vault.RenameDevice(number, device, name)
            )
        case c.ForgetDevice(id=id, key=key, device_id=device):
            return await _change(id, key, exchange, lambda number: to_vault.ForgetDevice(number, device))
        case c.Status():
            return exchange.board.status(request.id)
        case c.ListActors():
            return await _list_actors(request, exchange)
        case c.Shutdown():
            await exchange.send(Send("supervisor", to_supervisor.Shutdown("asked for on the control socket")))
            return c.Done(request.id)
        case c.Subscribe():
            raise AssertionError("a subscription is its connection's business")


async def _start(request: c.StartPairing, exchange: Exchange, settings: Settings) -> Message:
    session = session_of(request.key)
    lifetime = settings.code_lifetime if request.lifetime is None else request.lifetime

    def make(own: NodeIdentity) -> Message:
        return to_session.StartPairing(session, lifetime, own.peer, own.public_key)

    return await _begin(request.id, session, exchange, make)


async def _join(request: c.JoinPairing, exchange: Exchange) -> Message:
    try:
        code, hints = parse_code(request.code)
    except CodeError as error:
        return c.Error(request.id, "bad_code", str(error)[:200])
    session = session_of(request.key)
    if exchange.board.record(session) is None and exchange.board.shows_code(code):
        return c.Error(request.id, "bad_code", "this device is showing that code; enter it on the other one")
    running = exchange.board.joining(code, session)
    if running is not None:
        return c.Error(request.id, "busy", f"this device is entering that code already, in session {running}")

    def make(own: NodeIdentity) -> Message:
        return to_session.JoinPairing(
            session, code, own.peer, own.public_key, hints[:_HINTS], request.timeout
        )

    return await _begin(request.id, session, exchange, make)


async def _begin(
    id: int, session: SessionId, exchange: Exchange, make: Callable[[NodeIdentity], Message]
) -> Message:
    """Have the session made, once, and answer when it has shown itself (or has already ended)."""
    board = exchange.board
    if board.record(session) is None:
        await exchange.until(lambda: not board.not_ready_to_pair(), READY_WAIT)
        if board.identity is None or board.not_ready_to_pair():
            missing = board.not_ready_to_pair()
            return c.Error(id, "not_ready", f"the node is not ready; missing: {missing}"[:200])
        send = Send(actor_of_session(session), make(board.identity), id=os.urandom(16))
        try:
            record = await exchange.send_until([send], lambda: board.record(session))
        except RequestRefusedError as refused:
            if refused.busy:
                return c.Error(id, "busy", f"{refused.reason or 'the node is full'}; try again later"[:200])
            return c.Error(id, "stopping", "the node is stopping")
        if record is None:
            return c.Error(id, "internal", "the pairing did not start in time; try again")
    return c.SessionStarted(id, session)


async def _decide(request: c.Decide, exchange: Exchange) -> Message:
    record = exchange.board.record(request.session)
    if record is None:
        return _no_such_session(request.id)
    if record.accepted is None:
        if record.outcome is not None:
            return c.Error(request.id, "not_deciding", f"the pairing has ended: {record.outcome}")
        if record.confirmation is None:
            return c.Error(request.id, "not_deciding", "no device has proved itself yet")
    elif record.accepted is not request.accept:
        return c.Error(request.id, "already_decided", f"the device was {_past(record.accepted)} before")
    shown = record.confirmation
    if request.public_key is not None and (shown is None or shown.device.public_key != request.public_key):
        return c.Error(
            request.id, "not_deciding", "the pairing does not show the device that was decided about"
        )
    if _session_says(record) is None:
        record.decision = request.accept
        if (
            await exchange.send_until(_decision(record, request.accept), lambda: _session_says(record))
            is None
        ):
            return c.Error(request.id, "internal", "the pairing does not answer; see what becomes of it")
    if record.view is not None and record.view.accepted is not None:
        if record.view.accepted is request.accept:
            return c.Done(request.id)
        return c.Error(request.id, "already_decided", f"the device was {_past(record.view.accepted)} before")
    return c.Error(request.id, "not_deciding", f"the pairing has ended: {record.outcome}")


def _decision(record: Record, accept: bool) -> list[Send]:
    """The user's decision. An acceptance goes to the vault first, naming the very key that was shown."""
    decide = Send(actor_of_session(record.session), to_session.Decide(accept), id=os.urandom(16))
    if not accept or record.confirmation is None:
        return [decide]
    shown = record.confirmation
    accepted = to_vault.Accept(record.session, shown.device.public_key, shown.th3)
    return [Send("vault", accepted, id=os.urandom(16)), decide]


def _session_says(record: Record) -> bool | None:
    """True once the session has taken a decision or has ended: nothing more will change."""
    taken = record.view is not None and record.view.accepted is not None
    return True if taken or record.outcome is not None else None


async def _cancel(request: c.CancelPairing, exchange: Exchange) -> Message:
    record = exchange.board.record(request.session)
    if record is None:
        return _no_such_session(request.id)
    if record.outcome is None and record.accepted is None:
        send = Send(actor_of_session(record.session), to_session.CancelPairing(), id=os.urandom(16))
        if await exchange.send_until([send], lambda: _session_says(record)) is None:
            return c.Error(request.id, "internal", "the pairing does not answer; see what becomes of it")
    if record.outcome == "paired" or (record.outcome is None and record.accepted is True):
        return c.Error(request.id, "already_decided", "the decision is made and cannot be taken back")
    return c.Done(request.id)


def _list_sessions(request: c.ListSessions, exchange: Exchange) -> Message:
    states = [_without_qr(state) for state in exchange.board.states(now())]
    return _fitting(
        lambda count: c.Sessions(request.id, tuple(states[:count])), min(len(states), _MOST_LISTED)
    )


async def _list_devices(request: c.ListDevices, exchange: Exchange) -> Message:
    if not await exchange.until(lambda: exchange.board.ready("vault"), READY_WAIT):
        return c.Error(request.id, "not_ready", "the node is not ready; missing: vault")
    page = await exchange.ask("vault", lambda number: to_vault.ListDevices(number, request.after))
    if isinstance(page, Devices):
        return c.DeviceList(request.id, page.devices, page.more)
    return c.Error(request.id, "internal", "the vault did not answer in time; try again")


async def _change(id: int, key: bytes, exchange: Exchange, make: Callable[[int], Message]) -> Message:
    if not await exchange.until(lambda: exchange.board.ready("vault"), READY_WAIT):
        return c.Error(id, "not_ready", "the node is not ready; missing: vault")
    match await exchange.ask("vault", make, number=number_of(key), id=key):
        case DeviceChanged():
            return c.Done(id)
        case VaultError(code="no_such_device", message=message):
            return c.Error(id, "no_such_device", message)
        case VaultError(message=message):
            return c.Error(id, "invalid_name", message)
    return c.Error(id, "internal", "the vault did not answer in time; try again")


async def _list_actors(request: c.ListActors, exchange: Exchange) -> Message:
    found = await exchange.ask("supervisor", to_supervisor.ListActors)
    if not isinstance(found, Actors):
        return c.Error(request.id, "internal", "the supervisor did not answer in time; try again")
    actors = found.actors
    return _fitting(lambda count: c.ActorList(request.id, actors[:count]), len(actors))


def _fitting(make: Callable[[int], Message], count: int) -> Message:
    """Return the list with as many entries as one frame holds; the last ones are left out."""
    while count and len(encode(make(count))) > CONTROL_LIMIT:
        count -= max(count // 8, 1)
    return make(count)


def _without_qr(state: c.SessionState) -> c.SessionState:
    return msgspec.structs.replace(state, qr=None)


def _no_such_session(id: int) -> c.Error:
    return c.Error(id, "no_such_session", "the node knows no such session")


def _past(accepted: bool) -> str:
    return "accepted" if accepted else "rejected"
