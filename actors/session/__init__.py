"""The session actor: one pairing, either role (docs/protocol.md, docs/architecture.md "Steps")."""

from ...protocol.warm_up import warm_up as warm_up_protocol
from .actor import main
from .rehearsal import rehearse

__all__ = ["main", "warm_up"]


def warm_up() -> None:
    """Import everything, and run what each session runs first."""
    warm_up_protocol()
    rehearse()
