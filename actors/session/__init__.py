"""The session actor: one pairing, either role (docs/protocol.md, docs/architecture.md "Steps")."""

from ...protocol.warm_up import warm_up
from .actor import main

__all__ = ["main", "warm_up"]
