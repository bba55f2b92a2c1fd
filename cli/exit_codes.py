"""Exit codes of every command (docs/interfaces.md), and the error that ends a command with one of them."""

from ..messages.errors import SpacedriveNodeError
from ..messages.types import Outcome

OK = 0
INTERNAL = 1
USAGE = 2
NOT_FOUND = 3
WRONG_CODE = 4
REJECTED = 5
LOST = 6
NO_NODE = 7
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
# What a node's refusal means for a script: its own mistake, a node that cannot just now, or a defect.
_BY_ERROR = {
    "bad_request": USAGE,
    "bad_code": USAGE,
    "no_such_device": USAGE,
    "invalid_name": USAGE,
    "busy": LOST,
    "not_ready": LOST,
    "stopping": NO_NODE,
}


class CommandError(SpacedriveNodeError):
    """Ends the command: its text goes to stderr, for people, and `code` to the shell."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def of_outcome(outcome: Outcome) -> int:
    """Return the exit code of a pairing that ended so."""
    return _BY_OUTCOME[outcome]


def of_error(code: str) -> int:
    """Return the exit code of a request that the node refused with that error code."""
    return _BY_ERROR.get(code, INTERNAL)
