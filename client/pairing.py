"""One pairing as a program sees it: its states in order and none twice, its code, and what its user decides.

Owns the history of one session's states, also across a restart of the node's gateway. Never touches the
socket itself (control_connection.py does), and never decides about a device by itself. Made by NodeClient.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import msgspec

from ..messages.control_protocol import CancelPairing, Decide, Done, SessionState, ShownDevice
from ..messages.errors import SpacedriveNodeError
from ..messages.types import Outcome, Role, later_stage
from . import errors
from .control_connection import ControlConnection, Subscription
from .errors import ControlError
from .tasks import Change

_MAX_HISTORY = 256
"""States kept for one pairing.

Six stages and a few facts make far fewer, unless addresses change all the time.
"""


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
        self._changed = Change()
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
        try:
            with anyio.move_on_after(errors.REPLY_TIMEOUT_S):  # it may be there, and frozen
                await self._state_at(0)
                return self
            raise errors.no_reply_error()
        except BaseException:
            self._connection.unsubscribe(self._subscription)
            raise

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
            await self._changed.wait()
        position = max(position, self._dropped)
        return position, self._history[position - self._dropped]

    def _on_state(self, state: SessionState) -> None:
        """Add a state to the history, unless it is the one that a reconnection repeats."""
        if state.words is not None:
            self._code = Code(tuple(state.words.split()), state.qr, state.expires_in)
        following = news(self._history[-1] if self._history else None, state)
        if following is None:
            return
        state = following
        if self._shown_key is None and state.device is not None:
            self._shown_key = state.device.public_key
        self._history.append(state)
        if len(self._history) > _MAX_HISTORY:
            del self._history[0]
            self._dropped += 1
        self._changed.announce()

    def _on_error(self, error: Exception) -> None:
        self._failure = error
        self._changed.announce()


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


def news(last: SessionState | None, state: SessionState) -> SessionState | None:
    """Return what `state` adds to the last one of its session; None if it is what a reconnection repeats."""
    if last is None:
        return state
    if state.outcome is not None:
        # A gateway that was restarted meanwhile knows of a session that crashed only that it is over, and
        # reports it in the first stage. The outcome counts; the stage stays the one that was reached.
        state = msgspec.structs.replace(state, stage=later_stage(last.stage, state.stage))
    return None if is_repeat(last, state) else state


def is_repeat(old: SessionState, new: SessionState) -> bool:
    """Say whether `new` differs from `old` by the clock alone, as after a reconnection."""
    return msgspec.structs.replace(new, expires_in=None) == msgspec.structs.replace(old, expires_in=None)
