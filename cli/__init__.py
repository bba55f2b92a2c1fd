"""The sdnode command: thin, talks to a node through the control socket only (docs/interfaces.md).

Importing this imports nothing else; every command imports what it needs when it runs.
"""

from collections.abc import Sequence

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name) and return its exit code. Never raises."""
    from .errors import guarded

    return guarded(list(argv))
