"""Changes what the tree consists of while it runs: singletons start again with other settings, come and go.

A change of several actors is one: each of them is tried, last started first, and if one does not get to work,
all go back to what they were. An actor is ended as by a crash, of which the others take no notice that lasts
(docs/architecture.md, "Restarts"), and what it died of is `reload`: no exit to its restart policy.

Owns the order of such a change and the time that a trial may take. Never decides what is to change:
node_reload.py does, with the settings. docs/decisions/0021-reload.md.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import trio

from ..messages.child_protocol import LogLevel, Stop
from ..messages.errors import SpacedriveNodeError
from .child import Child, Trial
from .child_specs import ChildSpec
from .ledger import Ledger
from .ledger_effects import Effect
from .session_log import SessionLog

TRIAL_TIMEOUT_S = 60.0
"""For an actor to get to work with other settings, and again with its former ones. Whoever is not even ready
is given up before, after the start deadline of its specification, in which a busy host counts less."""


class SwitchFailedError(SpacedriveNodeError):
    """An actor did not get to work with its other settings. All actors have their former ones again."""

    def __init__(self, actor: str, why: str) -> None:
        super().__init__(f"{actor}: {why}")


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two lists of specifications: those that come, that are replaced, that go.

    Each in the order in which it is carried out.
    """

    come: tuple[ChildSpec, ...]
    replaced: tuple[ChildSpec, ...]
    go: tuple[str, ...]

    @property
    def actors(self) -> tuple[str, ...]:
        """The names of all of them."""
        return (*(spec.kind for spec in (*self.come, *self.replaced)), *self.go)


def changes_between(
    former: Sequence[ChildSpec], wanted: Sequence[ChildSpec], anew: Collection[str] = ()
) -> Changes:
    """Return what has to change; actors in `anew` are replaced even if they are specified as before.

    What is likelier to fail, and on whom nobody waits, is replaced first: the last in the order of start.
    """
    by_kind = {spec.kind: spec for spec in former}
    return Changes(
        come=tuple(spec for spec in wanted if spec.kind not in by_kind),
        replaced=tuple(
            spec
            for spec in reversed(wanted)
            if spec.kind in by_kind and (spec != by_kind[spec.kind] or spec.kind in anew)
        ),
        go=tuple(kind for kind in by_kind if kind not in {spec.kind for spec in wanted}),
    )


@dataclass(slots=True)
class Reconfiguration:
    """The running tree, as far as it can be changed. One change at a time: the caller sees to that.

    `specs` and `children` are the tree's own. `start` adds a singleton and has it supervised, as a trial;
    `retire` has one stopped for good; `apply_effects` does what the ledger has decided.
    """

    specs: list[ChildSpec]
    children: dict[str, Child]
    ledger: Ledger
    sessions: SessionLog
    start: Callable[[ChildSpec], Child]
    retire: Callable[[Child], None]
    apply_effects: Callable[[Sequence[Effect]], None]

    def limit_sessions(self, limit: int) -> None:
        """Let so many sessions run at once."""
        self.apply_effects(self.ledger.limit_sessions(limit))

    def log_messages(self, wanted: bool) -> None:
        """Log the messages of each session, with what their senders note beside them, or do not."""
        if wanted == self.ledger.debug:
            return
        self.ledger.debug = self.sessions.is_debug = wanted
        for child in self.children.values():
            if child.channel is not None:
                child.channel.enqueue(LogLevel(wanted))

    async def switch(
        self, wanted: Sequence[ChildSpec], changes: Changes, progress: Callable[[str], None]
    ) -> None:
        """Carry out all of the changes, or none. `progress` is called with each actor whose turn it is.

        Raises SwitchFailedError.
        """
        former = list(self.specs)
        came: list[str] = []
        replaced: list[str] = []
        try:
            for spec in changes.come:
                self._refuse_while_stopping(spec.kind)
                progress(spec.kind)
                came.append(spec.kind)
                self._place(spec, wanted)
                child = self.start(spec)
                assert child.trial is not None
                await self._wait_tried(child, child.trial)
            for spec in changes.replaced:
                self._refuse_while_stopping(spec.kind)
                progress(spec.kind)
                replaced.append(spec.kind)
                await self._replace(self.children[spec.kind], spec)
        except SwitchFailedError:
            progress("")
            await self._undo(former, came, replaced)
            raise
        for name in changes.go:
            progress(name)
            await self._remove(name)
        self.specs[:] = wanted

    def _refuse_while_stopping(self, name: str) -> None:
        if self.ledger.stopping:
            raise SwitchFailedError(name, "the node is stopping")

    def _place(self, spec: ChildSpec, wanted: Sequence[ChildSpec]) -> None:
        """Give a new actor its place in the order of start: behind the last that is there before it."""
        kinds = [one.kind for one in self.specs]
        before = [one.kind for one in wanted[: wanted.index(spec)] if one.kind in kinds]
        self.specs.insert(kinds.index(before[-1]) + 1 if before else 0, spec)

    async def _replace(self, child: Child, spec: ChildSpec) -> None:
        trial = child.begin_trial(spec)
        await self._end_incarnation(child)
        await self._wait_tried(child, trial)

    async def _end_incarnation(self, child: Child) -> None:
        """End the present process of an actor; between two of them there is nothing to end."""
        channel = child.channel
        if channel is None:
            return
        if child.spec.takes_back:
            channel.enqueue(Stop())
            with trio.move_on_after(child.spec.stop_grace):
                await channel.wait_ended()
        channel.kill("reload")

    async def _wait_tried(self, child: Child, trial: Trial) -> None:
        """Wait until a trial is over. Raises SwitchFailedError."""
        with trio.move_on_after(TRIAL_TIMEOUT_S):
            await trial.over.wait()
        if not trial.over.is_set():
            child.fail_trial(f"it did not get to work within {TRIAL_TIMEOUT_S:g} s")
            if child.channel is not None:
                child.channel.kill("reload")
        if trial.why:
            raise SwitchFailedError(child.name, trial.why)

    async def _undo(self, former: Sequence[ChildSpec], came: Sequence[str], replaced: Sequence[str]) -> None:
        """Give every actor its former specification. The one that failed has gone back to it by itself."""
        by_kind = {spec.kind: spec for spec in former}
        for name in reversed(replaced):
            child = self.children[name]
            if child.next_spec is None and child.spec != by_kind[name]:
                child.go_back(by_kind[name])
                await self._end_incarnation(child)
            if child.trial is not None:
                with trio.move_on_after(TRIAL_TIMEOUT_S):
                    await child.trial.over.wait()
        for name in came:
            await self._remove(name)
        self.specs[:] = former

    async def _remove(self, name: str) -> None:
        """Stop an actor for good, and forget it."""
        child = self.children[name]
        if not child.gone.is_set():
            self.retire(child)
            await child.gone.wait()
        child.ready.set()  # so that those that start after it do not wait for ever
        del self.children[name]
        self.specs[:] = [spec for spec in self.specs if spec.kind != name]
        self.apply_effects(self.ledger.remove_actor(name))
