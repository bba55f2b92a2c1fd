"""The course of the demo: start two nodes (or N + 1), pair them, compare both sides, stop.

Uses the same client as any program. Never prints: what is shown is the view's (demo_view.py).
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ..client.errors import ControlError, NodeGoneError
from ..client.node_client import NodeClient, Pairing, PairingFailedError, open_client
from ..messages.control_protocol import SessionState
from .demo_nodes import DemoNode, DemoNodeStartError, running_node, temporary_folder
from .demo_view import DemoView, PairingResult

_PAIRING_TIMEOUT_S = 60.0
_SERVER_NAME = "desktop"
_MAX_STARTING = 2
"""Nodes that are started at the same time: each takes about a second of one processor."""


@dataclass
class _PairingRecord:
    """One pairing under way, with what both sides have shown, by the name of the node."""

    number: int
    begin: float
    last_states: dict[str, SessionState] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    milliseconds: float = 0.0


async def run_demo(view: DemoView, pairs: int) -> bool:
    """Pair one node with `pairs` others at once; return whether all went well. Nothing of it stays."""
    names = ["phone"] if pairs == 1 else [f"phone-{number}" for number in range(1, pairs + 1)]
    try:
        async with temporary_folder() as folder:
            view.starting(_SERVER_NAME, names)
            async with running_node(folder, _SERVER_NAME, None) as server:
                view.node_ready(server.name, server.ready, server.process.pid)
                results = await _DemoRun(view, folder, server, names).run()
        view.stopped()
    except* DemoNodeStartError as group:
        view.failed(_error_text(group))
        results = []
    return len(results) == pairs and all(result.paired for result in results)


class _DemoRun:
    """The other nodes: started two at a time, then all paired with the first at the same moment."""

    def __init__(self, view: DemoView, folder: Path, server: DemoNode, names: list[str]) -> None:
        self._view, self._folder, self._server, self._names = view, folder, server, names
        self._start_limit = trio.CapacityLimiter(_MAX_STARTING)
        self._ready_count = 0
        self._all_ready = trio.Event()
        self._ended_count = 0
        self._all_ended = trio.Event()
        self._results: list[PairingResult] = []

    async def run(self) -> list[PairingResult]:
        """Return how each pairing went."""
        async with open_client(self._server.control) as client, trio.open_nursery() as nursery:
            for number, name in enumerate(self._names, 1):
                nursery.start_soon(self._run_node, number, name, client)
            await self._all_ended.wait()
            if len(self._names) == 1:
                self._view.stored_devices(_SERVER_NAME, await client.devices())
            self._view.summary(self._results)
            self._view.stopping()
        return self._results

    async def _run_node(self, number: int, name: str, server: NodeClient) -> None:
        async with AsyncExitStack() as stack:
            async with self._start_limit:
                started = running_node(self._folder, name, self._server.bootstrap)
                node = await stack.enter_async_context(started)
            self._view.node_ready(name, node.ready, node.process.pid)
            client = await stack.enter_async_context(open_client(node.control))
            self._ready_count += 1
            if self._ready_count == len(self._names):
                self._all_ready.set()
            await self._all_ready.wait()
            await self._pair(number, name, server, client)
            self._ended_count += 1
            if self._ended_count == len(self._names):
                self._all_ended.set()
            await self._all_ended.wait()

    async def _pair(self, number: int, name: str, server: NodeClient, client: NodeClient) -> None:
        alone = len(self._names) == 1
        result = await _pair_once(self._view, number, name, server, client, alone=alone)
        self._results.append(result)
        if alone:
            self._view.stored_devices(name, await client.devices())
        else:
            self._view.result(result)


async def _pair_once(
    view: DemoView, number: int, name: str, server: NodeClient, client: NodeClient, *, alone: bool
) -> PairingResult:
    """Run one pairing from both sides, as two people would."""
    record = _PairingRecord(number, trio.current_time())
    problem = ""
    try:
        with trio.fail_after(_PAIRING_TIMEOUT_S):
            shown = await server.start_pairing()
            words = " ".join(shown.code.words)
            if alone:
                view.code_shown(words)
            record.begin = trio.current_time()
            entered = await client.join_pairing(words)
            async with trio.open_nursery() as nursery:
                for side, pairing, node_name in ((server, shown, _SERVER_NAME), (client, entered, name)):
                    nursery.start_soon(
                        _follow_side, view if alone else None, record, side, pairing, node_name
                    )
    except* PairingFailedError as group:
        problem = _error_text(group)
    except* (ControlError, NodeGoneError) as group:
        problem = _error_text(group)
    except* trio.TooSlowError:
        problem = f"not paired within {_PAIRING_TIMEOUT_S:.0f} s"
    fingerprints = {state.fingerprint for state in record.last_states.values()}
    same = len(record.last_states) == 2 and len(fingerprints) == 1 and len(set(record.checks.values())) == 1
    if not problem and not same:
        problem = "the two sides do not agree on the fingerprint"
    fingerprint = (fingerprints.pop() or "") if same else ""
    return PairingResult(number, not problem, record.milliseconds, fingerprint, problem)


def _error_text(group: BaseExceptionGroup[BaseException]) -> str:
    """Return the text of the first error of a group."""
    error = group.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{error.outcome}: {error.message}" if isinstance(error, PairingFailedError) else str(error)


async def _follow_side(
    view: DemoView | None, record: _PairingRecord, client: NodeClient, pairing: Pairing, name: str
) -> None:
    """Show the states of one side, accept the device, and keep the end."""

    def event(what: str) -> None:
        if view is not None:
            view.timeline(name, (trio.current_time() - record.begin) * 1000, what)

    stage = None
    async for state in pairing.states(history=True):
        if state.stage != stage:
            stage = state.stage
            event(stage)
        if state.outcome is not None:
            if state.outcome != "paired":
                raise PairingFailedError(state.outcome, state.message)
            record.last_states[name] = state
            record.milliseconds = (trio.current_time() - record.begin) * 1000
            way = f"{state.path or 'direct'} over {state.transport or 'tcp'}"
            event(f"paired, {way}, fingerprint {state.fingerprint}")
        elif state.device is not None and state.check is not None and name not in record.checks:
            record.checks[name] = state.check
            event(f"proved: {state.device.name} knows the words, check {state.check}")
            if view is not None:
                view.process_tree(name, await client.actors())  # now, while the session's process lives
            await pairing.accept()
            event("accepts")
