"""The course of the demo: start two nodes (or N + 1), pair them, compare both sides, stop."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ..client.errors import ControlError, NodeGoneError
from ..client.node_client import NodeClient, Pairing, PairingFailedError, open_client
from ..messages.control_protocol import SessionState
from .demo_nodes import DemoNode, DemoNodeStartError, running_node, temporary_folder
from .demo_view import DemoView, Result

_PAIRING = 60.0
_SERVER = "desktop"
# Starting a node costs about a second of one processor.
_STARTING_AT_ONCE = 2


@dataclass
class _Pair:
    """One pairing under way, with what both sides have said."""

    number: int
    begin: float
    ends: dict[str, SessionState] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    milliseconds: float = 0.0


async def run_demo(view: DemoView, pairs: int) -> bool:
    """Pair one node with `pairs` others at once; say whether all went well. Nothing of it stays."""
    names = ["phone"] if pairs == 1 else [f"phone-{number}" for number in range(1, pairs + 1)]
    try:
        async with temporary_folder() as folder:
            view.starting(_SERVER, names)
            async with running_node(folder, _SERVER, None) as server:
                view.node(server.name, server.ready, server.process.pid)
                results = await _Course(view, folder, server, names).run()
        view.stopped()
    except* DemoNodeStartError as group:
        view.trouble(_text(group))
        results = []
    return len(results) == pairs and all(result.good for result in results)


class _Course:
    """The other nodes: started, then all paired with the first at the same moment."""

    def __init__(self, view: DemoView, folder: Path, server: DemoNode, names: list[str]) -> None:
        self._view, self._folder, self._server, self._names = view, folder, server, names
        self._starting = trio.CapacityLimiter(_STARTING_AT_ONCE)
        self._ready = 0
        self._all_ready = trio.Event()
        self._ended = 0
        self._all_ended = trio.Event()
        self._results: list[Result] = []

    async def run(self) -> list[Result]:
        """Return how each pairing went."""
        async with open_client(self._server.control) as client, trio.open_nursery() as nursery:
            for number, name in enumerate(self._names, 1):
                nursery.start_soon(self._one, number, name, client)
            await self._all_ended.wait()
            if len(self._names) == 1:
                self._view.devices(_SERVER, await client.devices())
            self._view.summary(self._results)
            self._view.stopping()
        return self._results

    async def _one(self, number: int, name: str, server: NodeClient) -> None:
        async with AsyncExitStack() as stack:
            async with self._starting:
                started = running_node(self._folder, name, self._server.bootstrap)
                node = await stack.enter_async_context(started)
            self._view.node(name, node.ready, node.process.pid)
            client = await stack.enter_async_context(open_client(node.control))
            self._ready += 1
            if self._ready == len(self._names):
                self._all_ready.set()
            await self._all_ready.wait()
            await self._pair(number, name, server, client)
            self._ended += 1
            if self._ended == len(self._names):
                self._all_ended.set()
            await self._all_ended.wait()

    async def _pair(self, number: int, name: str, server: NodeClient, client: NodeClient) -> None:
        alone = len(self._names) == 1
        result = await _pair_once(self._view, number, name, server, client, alone=alone)
        self._results.append(result)
        if alone:
            self._view.devices(name, await client.devices())
        else:
            self._view.result(result)


async def _pair_once(
    view: DemoView, number: int, name: str, server: NodeClient, client: NodeClient, *, alone: bool
) -> Result:
    """Run one pairing from both sides, as two people would."""
    pair = _Pair(number, trio.current_time())
    trouble = ""
    try:
        with trio.fail_after(_PAIRING):
            shown = await server.start_pairing()
            words = " ".join(shown.code.words)
            if alone:
                view.words(words)
            pair.begin = trio.current_time()
            entered = await client.join_pairing(words)
            async with trio.open_nursery() as nursery:
                for side, pairing, own in ((server, shown, _SERVER), (client, entered, name)):
                    nursery.start_soon(_follow, view if alone else None, pair, side, pairing, own)
    except* PairingFailedError as group:
        trouble = _text(group)
    except* (ControlError, NodeGoneError) as group:
        trouble = _text(group)
    except* trio.TooSlowError:
        trouble = f"not paired within {_PAIRING:.0f} s"
    prints = {state.fingerprint for state in pair.ends.values()}
    same = len(pair.ends) == 2 and len(prints) == 1 and len(set(pair.checks.values())) == 1
    if not trouble and not same:
        trouble = "the two sides do not agree on the fingerprint"
    fingerprint = (prints.pop() or "") if same else ""
    return Result(number, not trouble, pair.milliseconds, fingerprint, trouble)


def _text(group: BaseExceptionGroup[BaseException]) -> str:
    error = group.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{error.outcome}: {error.message}" if isinstance(error, PairingFailedError) else str(error)


async def _follow(
    view: DemoView | None, pair: _Pair, client: NodeClient, pairing: Pairing, name: str
) -> None:
    """Show the states of one side, accept the device, and keep the end."""

    def event(what: str) -> None:
        if view is not None:
            view.event(name, (trio.current_time() - pair.begin) * 1000, what)

    stage = None
    async for state in pairing.states(history=True):
        if state.stage != stage:
            stage = state.stage
            event(stage)
        if state.outcome is not None:
            if state.outcome != "paired":
                raise PairingFailedError(state.outcome, state.message)
            pair.ends[name] = state
            pair.milliseconds = (trio.current_time() - pair.begin) * 1000
            event(f"paired, {state.path or 'direct'}, fingerprint {state.fingerprint}")
        elif state.device is not None and state.check is not None and name not in pair.checks:
            pair.checks[name] = state.check
            event(f"proved: {state.device.name} knows the words, check {state.check}")
            if view is not None:
                view.tree(name, await client.actors())  # now, while the session's process lives
            await pairing.accept()
            event("accepts")
