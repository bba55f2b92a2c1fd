"""What a node's answer on its control socket means to whoever asked: the answer, or an exception.

Shared by control_connection.py and one_shot.py. Never does I/O.
"""

from typing import TypeVar

from ..messages.base import MalformedMessageError, Message, encode
from ..messages.control_protocol import Error, ErrorCode, RenameDevice, Reply, decode_request
from ..messages.errors import SpacedriveNodeError

PATIENCE = 30.0
"""Seconds without a node after which what waits for it fails."""
ANSWER = 60.0
"""Seconds for one answer; the node itself answers every request within about 20."""

_LONGEST_NAME = 64
_R = TypeVar("_R", bound=Message)


class NodeGoneError(SpacedriveNodeError, ConnectionError):
    """No node has answered for a while, or it came back without knowing what was asked about."""


class ControlError(SpacedriveNodeError):
    """The node refused a request; `code` is from the closed list of messages/control_protocol.py."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message


def check_request(request: Message) -> None:
    """Refuse here what the node would refuse together with the whole connection. Raises ControlError."""
    if isinstance(request, RenameDevice) and not 1 <= len(request.name) <= _LONGEST_NAME:
        raise ControlError("invalid_name", f"a name has 1 to {_LONGEST_NAME} characters")
    try:
        decode_request(encode(request))
    except MalformedMessageError:
        kind = type(request).__name__
        raise ControlError("bad_request", f"a value of {kind} is out of its bounds") from None


def answer_of(reply: Reply, expected: type[_R]) -> _R:
    """Return the answer. Raises ControlError: the node refuses, or answers something else."""
    if isinstance(reply, Error):
        raise ControlError(reply.code, reply.message)
    if isinstance(reply, expected):
        return reply
    raise ControlError("internal", "the node's answer is not of the kind that was asked for")


def unanswered() -> NodeGoneError:
    """Nobody has answered one request."""
    return NodeGoneError(f"the node has not answered for {ANSWER:.0f} s")


def gone() -> NodeGoneError:
    """Nobody is there."""
    return NodeGoneError(f"no node has answered for {PATIENCE:.0f} s")
