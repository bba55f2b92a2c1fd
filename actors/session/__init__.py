"""The session actor: one pairing, either role (docs/protocol.md, docs/architecture.md "Steps")."""

from ...protocol.rehearsal import rehearse
from .actor import main

__all__ = ["main", "warm_up"]

_TURNS = 12
"""Until the interpreter has adapted nearly all of it: what it writes in a session is shared no longer."""


def warm_up() -> None:
    """Go through a pairing's computations before any session is forked."""
    for _ in range(_TURNS):
        rehearse()
