"""The discovery actor: finds the peers that may show a code, and makes this node findable."""

from .actor import main

__all__ = ["main"]
