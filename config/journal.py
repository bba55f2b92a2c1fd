"""The priority that a line has in systemd's journal: `<N>` in front of it (sd-daemon(3)).

Owns when a line gets one: only where it goes into the journal itself, which takes it off again. Whoever else
reads standard error, from a file or a pipe say, would see it. Never writes a line.
"""

import os

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_ERROR = _PRIORITIES["error"]


def is_journal(descriptor: int) -> bool:
    """Return whether a descriptor is the stream to the journal with which systemd has started this program.

    systemd.exec(5), JOURNAL_STREAM: the variable alone says nothing, for it is inherited by programs whose
    output goes elsewhere.
    """
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def priority(level: str) -> str:
    """Return what stands in front of a line of this level in the journal."""
    return f"<{_PRIORITIES.get(level, _ERROR)}>"
