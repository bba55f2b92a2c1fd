"""Following one pairing: start it, show its events, put the question, and cancel it at Ctrl-C.

Owns the order of things and the exit code. How it looks is the view's, what happens is the node's.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ..client.errors import ControlError, NodeGoneError
from ..client.node_client import NodeClient, Pairing
from ..messages.control_protocol import SessionState
from ..messages.outcome_texts import CANCELLED_BY_CTRL_C
from . import exit_codes
from .errors import leading
from .pairing_events import EventMaker, failed
from .prompts import NobodyToAskError, answers, discard_typed, yes
from .views import View

Starter = Callable[[NodeClient], Awaitable[Pairing]]

# What an interrupted start is given to tell its session, so that it can be cancelled.
_START_GRACE = 2.0
_CANCEL_GRACE = 3.0


class Follower:
    """One pairing from its start to its exit code."""

    def __init__(self, client: NodeClient, view: View, *, yes: bool, check: bool, script: bool) -> None:
        self._client, self._view = client, view
        self._yes, self._check, self._script = yes, check, script
        self._maker = EventMaker()
        self._pairing: Pairing | None = None
        self._starting = trio.CancelScope(shield=True)
        self._scope = trio.CancelScope()
        self._question: trio.CancelScope | None = None
        self._interrupted = False

    async def run(self, start: Starter) -> int:
        """Follow the pairing; Ctrl-C cancels it, a second one ends at once."""
        code = exit_codes.INTERRUPTED
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch_signals)
            with self._scope:
                try:
                    code = await self._pair(start)
                except Exception:  # nobody can be shown how it goes on: the output is closed, or full
                    await self._cancel(tell=False)
                    raise
            if self._interrupted:
                await self._cancel()
            nursery.cancel_scope.cancel()
        return exit_codes.INTERRUPTED if self._interrupted else code

    async def _pair(self, start: Starter) -> int:
        try:
            with self._starting:
                self._pairing = await start(self._client)
        except ControlError as error:
            if error.code == "busy":
                self._view.show(failed(None, "busy", error.message))
                return exit_codes.LOST
            raise
        if self._pairing is None:
            return exit_codes.INTERRUPTED
        try:
            async with trio.open_nursery() as nursery:
                async for state in self._pairing.states(history=True):
                    self._settle_question(state)
                    for event in self._maker.events(state):
                        self._view.show(event)
                        if event["event"] == "confirm" and state.accepted is None:
                            nursery.start_soon(self._decide, state)
                    if state.outcome is not None:
                        return exit_codes.of_outcome(state.outcome)
        except* NodeGoneError as group:
            self._view.show(failed(self._pairing.id, "crashed", str(leading(group))))
        return exit_codes.LOST

    def _settle_question(self, state: SessionState) -> None:
        """Take the question back when it is moot: decided elsewhere, or over."""
        if self._question is not None and (state.outcome is not None or state.accepted is not None):
            self._question.cancel()
            self._question = None
            self._view.withdrawn()

    async def _decide(self, state: SessionState) -> None:
        assert self._pairing is not None
        accept = self._yes
        if not self._yes:
            answer = None
            with trio.CancelScope() as self._question:
                answer = await self._asked(state)
            self._question = None
            if answer is None:
                return
            accept = answer
        try:
            await (self._pairing.accept() if accept else self._pairing.reject())
        except ControlError as error:
            # Decided elsewhere or ended meanwhile; the states that follow say how.
            if error.code not in ("already_decided", "not_deciding", "no_such_session"):
                raise

    async def _asked(self, state: SessionState) -> bool:
        with answers(script=self._script) as descriptor:
            try:
                if self._check:
                    digits = f"{state.check[:3]} {state.check[3:]}" if state.check else ""
                    discard_typed(descriptor)
                    self._view.ask(f"Does the other device show {digits} as well? [y/N] ")
                    same = await yes(descriptor)
                    self._view.answered()
                    if not same:
                        return False
                name = state.device.name if state.device is not None else "this device"
                discard_typed(descriptor)
                self._view.ask(f"Trust {name}? [y/N] ")
                trusted = await yes(descriptor)
            except NobodyToAskError:
                self._view.note("nobody is there to answer, so the device is declined; --yes accepts unasked")
                return False
            self._view.answered()
            return trusted

    async def _watch_signals(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                if self._interrupted:
                    self._view.close()
                    os._exit(exit_codes.INTERRUPTED)
                self._interrupted = True
                self._starting.deadline = trio.current_time() + _START_GRACE
                self._scope.cancel()

    async def _cancel(self, *, tell: bool = True) -> None:
        with suppress(OSError):
            self._view.close()
        if self._pairing is None:
            return
        with trio.move_on_after(_CANCEL_GRACE):
            try:
                await self._pairing.cancel()
                if tell:
                    self._view.show(failed(self._pairing.id, "cancelled", CANCELLED_BY_CTRL_C))
            except ControlError as error:
                if error.code == "already_decided":
                    self._view.note("this device has already accepted; the node goes on with the pairing")
            except NodeGoneError:
                pass  # then there is nothing left to cancel
