"""Keeps the memory of a command that holds the words of a code out of core dumps.

A crash, or Ctrl-\\, would else write them into a file that stays. Owns this one setting.
"""

import resource
from contextlib import suppress

from ..supervisor.libc import set_dumpable


def forbid_core_dumps() -> None:
    """Have the kernel write no core of this process, and let no process of the same user read its memory."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        set_dumpable(False)
