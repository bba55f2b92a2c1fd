"""The orderly stop of a node: sessions cancel their pairings, then everything ends, last started first.

Owns the times that this may take. What is left after STOP_TIMEOUT_S is killed when tree.py closes its nursery
and the spawner.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from ..messages.child_protocol import Stop
from ..messages.to_session import CancelPairing
from .child import Child
from .child_specs import ChildSpec
from .ledger import Ledger
from .ledger_effects import Effect

SESSION_STOP_TIMEOUT_S = 1.0
"""For sessions to cancel their pairings, and again for their processes to end."""
STOP_TIMEOUT_S = 4.0
"""How long an orderly stop may take before every process that is left is killed."""

ApplyEffects = Callable[[Sequence[Effect]], None]
KillAfterGrace = Callable[[Child, float], Awaitable[None]]


async def stop_all(
    specs: Sequence[ChildSpec],
    children: Mapping[str, Child],
    ledger: Ledger,
    apply_effects: ApplyEffects,
    kill_after_grace: KillAfterGrace,
) -> None:
    """Stop all sessions at once, then the singletons of `specs`, last started first."""
    ledger.stopping = True
    with trio.move_on_after(STOP_TIMEOUT_S):
        sessions = [child for child in children.values() if child.is_session]
        await _cancel_pairings(sessions, ledger, apply_effects)
        async with trio.open_nursery() as nursery:
            for child in sessions:
                nursery.start_soon(_stop_child, child, SESSION_STOP_TIMEOUT_S, kill_after_grace)
        for spec in tuple(reversed(specs)):
            if spec.kind in children:  # otherwise a reload that is under way has just removed it
                await _stop_child(children[spec.kind], spec.stop_grace, kill_after_grace)


async def _cancel_pairings(sessions: Sequence[Child], ledger: Ledger, apply_effects: ApplyEffects) -> None:
    """Have sessions cancel, and inform the other device and the user, while all other actors still run.

    A session whose user has accepted goes on meanwhile; what it leaves open is settled at the next contact
    (docs/protocol.md, "Settling").
    """
    for child in sessions:
        apply_effects(ledger.post(child.name, CancelPairing(node_stops=True)))
    with trio.move_on_after(SESSION_STOP_TIMEOUT_S):
        for child in sessions:
            await child.gone.wait()


async def _stop_child(child: Child, grace: float, kill_after_grace: KillAfterGrace) -> None:
    if child.channel is not None:
        child.channel.enqueue(Stop())
        await kill_after_grace(child, grace)
    elif not child.gone.is_set():
        child.scope.cancel()
