"""The gateway: the control socket that the command line and programs use (docs/interfaces.md)."""

from .actor import main

__all__ = ["main"]
