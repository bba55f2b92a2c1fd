"""Follows one pairing from its start to its exit code: shows its events, puts the question, handles Ctrl-C.

Owns the order of these and the exit code. How events look is the view's, what happens is the node's.

Ctrl-C: the pairing runs in the node, so ending this process alone would leave it there, and the other device
waiting. The first signal cancels whatever is being waited for here and then cancels the pairing in the
node. The request that starts the pairing is shielded for a moment, since without its reply this side does
not know which session to cancel. A second signal ends the process at once.
"""

import os
import signal
from collections.abc import Awaitable, Callable

import trio

from ..client.errors import ControlError, NodeGoneError
from ..client.node_client import NodeClient, Pairing
from ..messages.control_protocol import SessionState
from ..messages.outcome_texts import CANCELLED_BY_CTRL_C
from . import exit_codes
from .accept_rules import Rule, are_fit
from .errors import root_cause
from .pairing_events import EventMaker, failed_event
from .prompts import NobodyToAskError, answer_source, discard_typeahead, read_yes
from .views import View

PairingStarter = Callable[[NodeClient], Awaitable[Pairing]]

_START_GRACE_S = 2.0
"""For the reply to an interrupted start, which names the session that is to be cancelled."""
_CANCEL_GRACE_S = 3.0


class Follower:
    """One pairing from its start to its exit code."""

    def __init__(
        self, client: NodeClient, view: View, *, rules: tuple[Rule, ...] | None, check: bool, script: bool
    ) -> None:
        """`rules`: accept a device that fits one of them, and no other, unasked; None: ask."""
        self._client, self._view = client, view
        self._rules, self._check, self._script = rules, check, script
        self._maker = EventMaker()
        self._pairing: Pairing | None = None
        self._start_scope = trio.CancelScope(shield=True)
        self._scope = trio.CancelScope()
        self._question_scope: trio.CancelScope | None = None
        self._is_moot = False
        """There is nothing left to decide."""
        self._interrupted = False

    async def run(self, start: PairingStarter) -> int:
        """Follow the pairing and return the exit code; Ctrl-C cancels it, a second one ends at once."""
        code = exit_codes.INTERRUPTED
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch_signals)
            with self._scope:
                try:
                    code = await self._follow(start)
                except Exception:  # any: often the output is closed or full, and nobody sees how it goes on
                    await self._cancel_pairing(show=False)
                    raise
            if self._interrupted:
                await self._cancel_pairing()
            nursery.cancel_scope.cancel()
        return exit_codes.INTERRUPTED if self._interrupted else code

    async def _follow(self, start: PairingStarter) -> int:
        try:
            with self._start_scope:
                self._pairing = await start(self._client)
        except ControlError as error:
            if error.code == "busy":
                self._view.show(failed_event(None, "busy", error.message))
                return exit_codes.LOST
            raise
        if self._pairing is None:
            return exit_codes.INTERRUPTED
        try:
            async with trio.open_nursery() as nursery:
                async for state in self._pairing.states(history=True):
                    self._withdraw_moot_question(state)
                    for event in self._maker.events(state):
                        self._view.show(event)
                        if event["event"] == "confirm" and state.accepted is None:
                            # In a task of its own: the states go on while a person thinks.
                            nursery.start_soon(self._decide, state)
                    if state.outcome is not None:
                        nursery.cancel_scope.cancel()  # a decision under way is of no use any more
                        return exit_codes.of_outcome(state.outcome)
        except* NodeGoneError as group:
            self._view.show(failed_event(self._pairing.id, "crashed", str(root_cause(group))))
        return exit_codes.LOST

    def _withdraw_moot_question(self, state: SessionState) -> None:
        """Take the question back when it was decided by another client or the pairing is over."""
        if state.outcome is None and state.accepted is None:
            return
        self._is_moot = True
        if self._question_scope is not None:
            self._question_scope.cancel()
            self._question_scope = None
            self._view.question_withdrawn()

    async def _decide(self, state: SessionState) -> None:
        """Get the user's decision about the device shown, and send it to the node."""
        assert self._pairing is not None
        if self._is_moot:  # the end came together with the device, before this task began
            return
        if self._rules is not None:
            accept = are_fit(self._rules, state.device)
            if not accept:
                self._view.show_remark("declined: this device fits no --accept")
        else:
            answer = None
            with trio.CancelScope() as self._question_scope:
                answer = await self._ask_user(state)
            self._question_scope = None
            if answer is None:
                return
            accept = answer
        try:
            await (self._pairing.accept() if accept else self._pairing.reject())
        except ControlError as error:
            # Decided by another client or ended meanwhile; the states that follow show which.
            if error.code not in ("already_decided", "not_deciding", "no_such_session"):
                raise

    async def _ask_user(self, state: SessionState) -> bool:
        with answer_source(script=self._script) as descriptor:
            try:
                if self._check:
                    digits = f"{state.check[:3]} {state.check[3:]}" if state.check else ""
                    discard_typeahead(descriptor)
                    self._view.show_question(f"Does the other device show {digits} as well? [y/N] ")
                    same = await read_yes(descriptor)
                    self._view.question_answered()
                    if not same:
                        return False
                name = state.device.name if state.device is not None else "this device"
                discard_typeahead(descriptor)
                self._view.show_question(f"Trust {name}? [y/N] ")
                trusted = await read_yes(descriptor)
            except NobodyToAskError:
                self._view.show_remark(
                    "nobody is there to answer, so the device is declined; --yes accepts unasked"
                )
                return False
            self._view.question_answered()
            return trusted

    async def _watch_signals(self, task_status: trio.TaskStatus[None]) -> None:
        watched = [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGCONT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is ignored, and stays so
            watched.append(signal.SIGHUP)
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:  # else whoever started this wants no stops
            watched.append(signal.SIGTSTP)
        with trio.open_signal_receiver(*watched) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGTSTP:
                    self._stop_process()
                elif number == signal.SIGCONT:
                    self._view.resume()
                elif self._interrupted:
                    self._view.close()
                    os._exit(exit_codes.INTERRUPTED)
                else:
                    self._interrupted = True
                    self._start_scope.deadline = trio.current_time() + _START_GRACE_S
                    self._scope.cancel()

    def _stop_process(self) -> None:
        """Stop as Ctrl-Z wants, with the terminal as the shell expects it; go on here afterwards."""
        self._view.suspend()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._view.resume()

    async def _cancel_pairing(self, *, show: bool = True) -> None:
        """Cancel the pairing in the node, if it was started; `show`: also show that it failed."""
        self._view.close()
        if self._pairing is None:
            return
        with trio.move_on_after(_CANCEL_GRACE_S) as grace:
            try:
                await self._pairing.cancel()
                if show:
                    self._view.show(failed_event(self._pairing.id, "cancelled", CANCELLED_BY_CTRL_C))
            except ControlError as error:
                if error.code == "already_decided":
                    self._view.show_remark(
                        "this device has already accepted; the node goes on with the pairing"
                    )
            except NodeGoneError:
                pass  # then there is nothing left to cancel
        if grace.cancelled_caught:
            self._view.show_remark("the node does not answer; it may go on with the pairing for a while")
