"""The exit codes of every command, and which outcome or refusal leads to which.

docs/interfaces.md, "Stages and outcomes".
"""

from ..messages.errors import ReportedError
from ..messages.types import Outcome

OK = 0
INTERNAL = 1
USAGE = 2
NOT_FOUND = 3
WRONG_CODE = 4
REJECTED = 5
LOST = 6
NO_NODE = 7
NOT_READY = 8
FINDINGS = 9
"""Of `sdnode doctor`: it found a problem."""
INTERRUPTED = 130

_BY_OUTCOME: dict[Outcome, int] = {
    "paired": OK,
    "not_found": NOT_FOUND,
    "wrong_code": WRONG_CODE,
    "expired": WRONG_CODE,
    "rejected": REJECTED,
    "lost_contact": LOST,
    "crashed": LOST,
    "busy": LOST,
    "cancelled": INTERRUPTED,
}
# What a refusal of the node means for a script: a mistake of the script, a node that cannot at present, or
# (all other codes) a defect.
_BY_ERROR = {
    "bad_request": USAGE,
    "bad_code": USAGE,
    "no_such_device": USAGE,
    "invalid_name": USAGE,
    "busy": LOST,
    "not_ready": LOST,
    "stopping": NO_NODE,
}


def of_refusal(error: ReportedError) -> int:
    """Return the exit code of what was not begun: it may work later, or is for the user to change."""
    return LOST if error.is_temporary else USAGE


def of_outcome(outcome: Outcome) -> int:
    """Return the exit code of a pairing with this outcome."""
    return _BY_OUTCOME[outcome]


def of_error(code: str) -> int:
    """Return the exit code of a request that the node refused with this error code."""
    return _BY_ERROR.get(code, INTERNAL)
