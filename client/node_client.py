"""The Python client of a running node: everything that the control socket offers, as methods.

Owns the Pairing as a program sees it: its states in order and none twice, also across a restart of the node's
gateway. Never touches the socket itself (control_connection.py does) and never decides about a device by
itself. Implements the client's side of docs/interfaces.md, "Control socket".
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from ..config.running_nodes import NoNodeRunningError
from ..messages.base import Message
from ..messages.control_protocol import (
    ActorList,
    CancelPairing,
    Decide,
    DeviceList,
    Done,
    ForgetDevice,
    JoinPairing,
    ListActors,
    ListDevices,
    ListSessions,
    NodeStatus,
    RenameDevice,
    Sessions,
    SessionStarted,
    SessionState,
    ShownDevice,
    Shutdown,
    StartPairing,
    Status,
)
from ..messages.errors import SpacedriveNodeError
from ..messages.to_gateway import ActorInfo, Device
from ..messages.types import Outcome, Role, later_stage
from .control_connection import ControlConnection, Subscription
from .errors import ControlError, NodeGoneError

__all__ = [
    "Code",
    "Confirmation",
    "ControlError",
    "NoNodeRunningError",
    "NodeClient",
    "NodeGoneError",
    "Pairing",
    "PairingFailedError",
    "open_client",
]

_LIST_ATTEMPTS = 4
"""Each time another client has the list made anew between two pages, it is asked for again."""
_MAX_HISTORY = 256
"""States kept for one pairing.

Six stages and a few facts make far fewer, unless addresses change all the time.
"""
_R = TypeVar("_R", bound=Message)


class PairingFailedError(SpacedriveNodeError):
    """The pairing ended without `paired`; `outcome` as in docs/interfaces.md, "Stages and outcomes"."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message or f"the pairing ended: {outcome}")
        self.outcome: Outcome = outcome
        self.message = message


@dataclass(frozen=True, slots=True, repr=False)
class Code:
    """What an initiator shows: twelve words, and the same as the text of a QR code. Secret."""

    words: tuple[str, ...]
    qr: str | None
    expires_in: float | None
    """Seconds of life that were left when this object was made."""

    def __repr__(self) -> str:
        return "Code(<secret>)"

    def __str__(self) -> str:
        return repr(self)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What to decide about: the device on the other side, and six digits that both sides show."""

    device: ShownDevice
    check: str


class Pairing:
    """One pairing session of the node, from either side. Made by NodeClient."""

    def __init__(self, connection: ControlConnection, session: str) -> None:
        self.id = session
        """Names the session on its node: 16 hex digits."""
        self._connection = connection
        self._history: list[SessionState] = []
        self._dropped = 0
        """States that are no longer in the history: the position of its first one."""
        self._failure: Exception | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._code: Code | None = None
        self._shown_key: bytes | None = None
        """Public key of the device shown first: an acceptance is for this device and no other."""
        # One key for each thing that can be done to the session, however often it is called: a repeat has no
        # effect of its own, whether the connection repeats the request or the program does.
        self._request_keys = {name: os.urandom(16) for name in ("accept", "reject", "cancel")}
        self._subscription: Subscription | None = None

    async def _open(self) -> "Pairing":
        """Subscribe, and wait for the first state. Raises ControlError no_such_session, NodeGoneError."""
        self._subscription = self._connection.subscribe(self.id, self._on_state, self._on_error)
        await self._state_at(0)
        return self

    @property
    def role(self) -> Role:
        """`initiator` shows the code, `joiner` enters it."""
        return self.state.role

    @property
    def state(self) -> SessionState:
        """The newest state that has arrived."""
        return self._history[-1]

    @property
    def code(self) -> Code:
        """The code to show. Raises LookupError when this side shows none (a joiner, a code already used)."""
        if self._code is None:
            raise LookupError("this pairing shows no code")
        return self._code

    def states(self, *, history: bool = False) -> AsyncIterator[SessionState]:
        """Yield the present state and then each that follows; end after the one that has an `outcome`.

        With `history`, begin with the first state that this object has received (and still keeps). A stage
        never goes back and no state comes twice, also when the connection is lost in between. Raises
        NodeGoneError when no node answers for 30 s, or when it no longer knows this session.
        """
        return _StateIterator(self, history)

    async def confirmation(self) -> Confirmation:
        """Wait until the other device has proved itself.

        Raises PairingFailedError if it ends before, NodeGoneError.
        """
        async for state in self.states():
            if state.device is not None and state.check is not None:
                return Confirmation(state.device, state.check)
            if state.outcome is not None:
                raise PairingFailedError(state.outcome, state.message)
        raise AssertionError("states() ends with an outcome")

    async def paired(self, *, accept: bool = False) -> SessionState:
        """Wait for the end and return the last state, whose `device` is now trusted.

        `accept` is the explicit policy to accept any device that proves that it knows the code; without it
        the program has to call :meth:`accept`. Raises PairingFailedError with the outcome, NodeGoneError.
        """
        async for state in self.states():
            if state.outcome == "paired":
                return state
            if state.outcome is not None:
                raise PairingFailedError(state.outcome, state.message)
            if accept and state.device is not None and state.accepted is None:
                await self._accept_if_open()
        raise AssertionError("states() ends with an outcome")

    async def accept(self) -> None:
        """Trust the device shown first. The first decision is final. Raises ControlError, NodeGoneError."""
        key, shown = self._request_keys["accept"], self._shown_key
        await self._connection.call(Done, lambda id: Decide(id, key, self.id, True, shown))

    async def reject(self) -> None:
        """Refuse the device shown. The first decision is final. Raises ControlError, NodeGoneError."""
        key = self._request_keys["reject"]
        await self._connection.call(Done, lambda id: Decide(id, key, self.id, False))

    async def cancel(self) -> None:
        """Give the pairing up. Raises ControlError `already_decided` after a decision, NodeGoneError."""
        key = self._request_keys["cancel"]
        await self._connection.call(Done, lambda id: CancelPairing(id, key, self.id))

    async def _accept_if_open(self) -> None:
        try:
            await self.accept()
        except ControlError as error:
            # Another client has decided, or the pairing ended meanwhile: the states show which.
            if error.code not in ("already_decided", "not_deciding"):
                raise

    async def _state_at(self, position: int) -> tuple[int, SessionState]:
        """Wait for the state at `position`, or the first one after it that is still kept; return both."""
        while position >= self._dropped + len(self._history):
            if self._failure is not None:
                raise self._failure
            await self._changed.park()
        position = max(position, self._dropped)
        return position, self._history[position - self._dropped]

    def _on_state(self, state: SessionState) -> None:
        """Add a state to the history, unless it is the one that a reconnection repeats."""
        if state.words is not None:
            self._code = Code(tuple(state.words.split()), state.qr, state.expires_in)
        if self._history:
            last = self._history[-1]
            if state.outcome is not None:
                # A gateway that was restarted meanwhile knows of a session that crashed only that it is
                # over, and reports it in the first stage. The outcome counts; the stage stays the one that
                # was reached.
                state = msgspec.structs.replace(state, stage=later_stage(last.stage, state.stage))
            if is_repeat(last, state):
                return
        if self._shown_key is None and state.device is not None:
            self._shown_key = state.device.public_key
        self._history.append(state)
        if len(self._history) > _MAX_HISTORY:
            del self._history[0]
            self._dropped += 1
        self._changed.unpark_all()

    def _on_error(self, error: Exception) -> None:
        self._failure = error
        self._changed.unpark_all()


class _StateIterator(AsyncIterator[SessionState]):
    """The iterator of Pairing.states. Not an async generator: leaving its loop early would not close it."""

    def __init__(self, pairing: Pairing, history: bool) -> None:
        self._pairing = pairing
        self._position = 0 if history else pairing._dropped + len(pairing._history) - 1
        self._over = False

    async def __anext__(self) -> SessionState:
        if self._over:
            raise StopAsyncIteration
        position, state = await self._pairing._state_at(self._position)
        self._position = position + 1
        self._over = state.outcome is not None
        return state


def is_repeat(old: SessionState, new: SessionState) -> bool:
    """Say whether `new` differs from `old` by the clock alone, as after a reconnection."""
    return msgspec.structs.replace(new, expires_in=None) == msgspec.structs.replace(old, expires_in=None)


class NodeClient:
    """A connection with a running node; from :func:`open_client`. Usable by several tasks at once.

    Every method raises ControlError when the node refuses, and NodeGoneError when no node answers for 30 s.
    When the connection is lost it is made again, and what was under way is repeated without taking effect
    twice (control_connection.py).
    """

    def __init__(self, connection: ControlConnection) -> None:
        self._connection = connection

    def watch_connection(self, watch: Callable[[bool], None]) -> None:
        """Have `watch` called with False when the connection is lost, and with True when it is back."""
        self._connection.on_connection_change = watch

    async def start_pairing(self, lifetime: float | None = None) -> Pairing:
        """Show a new code that lives `lifetime` seconds (60 to 3600; None: as the node is configured)."""
        key = os.urandom(16)
        reply = await self._connection.call(SessionStarted, lambda id: StartPairing(id, key, lifetime))
        return await self.session(reply.session)

    # The node does the waiting, so `timeout` is not a cancellation.
    async def join_pairing(self, text: str, timeout: float = 60) -> Pairing:  # noqa: ASYNC109
        """Enter a code: twelve words or a QR text; search `timeout` seconds. ControlError `bad_code`."""
        key = os.urandom(16)
        reply = await self._connection.call(SessionStarted, lambda id: JoinPairing(id, key, text, timeout))
        return await self.session(reply.session)

    async def session(self, id: str) -> Pairing:
        """Return the session with that id, running or lately ended. ControlError `no_such_session`."""
        return await Pairing(self._connection, id)._open()

    async def sessions(self) -> list[SessionState]:
        """Return the sessions that run, oldest first, and those lately ended, without their QR texts.

        Beyond 128 the rest follows in order of id.
        """
        page = await self._connection.call(Sessions, ListSessions)
        found = {state.session: state for state in page.sessions}
        after = ""
        while page.more is True and page.sessions:
            page = await self._connection.call(Sessions, lambda id, after=after: ListSessions(id, after))  # type: ignore[misc]
            found |= {state.session: state for state in page.sessions}
            after = page.sessions[-1].session if page.sessions else after
        return list(found.values())

    async def devices(self) -> list[Device]:
        """Return every trusted device, in order of device id."""
        found: list[Device] = []
        while True:
            after = found[-1].device_id if found else b""
            page = await self._connection.call(DeviceList, lambda id, after=after: ListDevices(id, after))  # type: ignore[misc]
            found += page.devices
            if not page.more or not page.devices:
                return found

    async def rename(self, device_id: bytes, name: str) -> None:
        """Give a trusted device another name. ControlError `no_such_device`, `invalid_name`."""
        key = os.urandom(16)
        await self._connection.call(Done, lambda id: RenameDevice(id, key, device_id, name))

    async def forget(self, device_id: bytes) -> None:
        """Trust a device no longer. ControlError `no_such_device`."""
        key = os.urandom(16)
        await self._connection.call(Done, lambda id: ForgetDevice(id, key, device_id))

    async def status(self) -> NodeStatus:
        """Return the node's addresses, reachability, sessions and readiness."""
        return await self._connection.call(NodeStatus, Status)

    async def actors(self) -> Sequence[ActorInfo]:
        """Return the processes of the node, in order of start."""
        for _ in range(_LIST_ATTEMPTS):
            try:
                return await self._actors()
            except ControlError as error:
                if error.code != "busy":
                    raise
        return await self._actors()

    async def _actors(self) -> list[ActorInfo]:
        page = await self._connection.call(ActorList, ListActors)
        found = list(page.actors)
        while page.more is True and page.actors:
            last = page.actors[-1].actor
            page = await self._connection.call(ActorList, lambda id, last=last: ListActors(id, last))  # type: ignore[misc]
            found += page.actors
        return found

    async def shutdown(self) -> None:
        """Drain and stop the node; returns when it has agreed, or is no longer there."""
        key = os.urandom(16)
        await self._connection.call(Done, lambda id: Shutdown(id, key), reply_if_gone=Done(0))


@asynccontextmanager
async def open_client(control: Path) -> AsyncIterator[NodeClient]:
    """Connect with the node whose control socket is `control`. Raises NoNodeRunningError."""
    async with open_connection(control) as connection:
        yield NodeClient(connection)


@asynccontextmanager
async def open_connection(control: Path) -> AsyncIterator[ControlConnection]:
    """Connect, and keep the connection alive while the block runs. Raises NoNodeRunningError."""
    connection = ControlConnection(control)
    await connection.connect()
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        try:
            yield connection
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            # What the caller's block raises leaves as it is, not wrapped in the nursery's group.
            failure = error
        finally:
            nursery.cancel_scope.cancel()
    await connection.aclose()
    if failure is not None:
        raise failure
