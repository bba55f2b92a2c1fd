"""What can go wrong between a client and a node, and which reply becomes a result and which an exception.

Shared by control_connection.py and one_shot.py, so that both wait equally long and raise the same. Never does
I/O. The error codes are those of messages/control_protocol.py.
"""

from pathlib import Path
from typing import TypeVar

from ..config.running_nodes import NoNodeRunningError
from ..messages.base import MalformedMessageError, Message, encode
from ..messages.control_protocol import Error, ErrorCode, RenameDevice, Reply, decode_request
from ..messages.errors import SpacedriveNodeError
from ..messages.to_gateway import ReloadReport

RECONNECT_TIMEOUT_S = 30.0
"""After so long without a node, every request that waits for one fails."""
REPLY_TIMEOUT_S = 60.0
"""For one reply; the node itself replies to every request within about 20."""

_MAX_NAME_CHARS = 64
_R = TypeVar("_R", bound=Message)


class NodeGoneError(SpacedriveNodeError, ConnectionError):
    """No node has answered for a while, or it came back without knowing the session that was asked for."""


class NodeEndedError(NodeGoneError):
    """The node that this program runs has ended; no other will come in its place.

    `exit_code` is that of its process, negative for a signal as in `subprocess`; `last_lines` are the last
    that it logged, at most 20.
    """

    def __init__(self, exit_code: int, last_lines: tuple[str, ...]) -> None:
        how = f"with exit code {exit_code}" if exit_code >= 0 else f"by signal {-exit_code}"
        super().__init__("\n".join([f"the node has ended {how}", *last_lines]))
        self.exit_code = exit_code
        self.last_lines = last_lines


class ControlError(SpacedriveNodeError):
    """The node refused a request; `code` is from the closed list of messages/control_protocol.py."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message


class ReloadFailedError(SpacedriveNodeError):
    """The node runs with its former settings; `report` says what was to change, and why it did not.

    `report.state` is `refused`, they are wrong or need a start, or `undone`, a part did not work with them.
    """

    def __init__(self, report: ReloadReport) -> None:
        super().__init__("\n".join(report.reasons) or f"the reload was {report.state}")
        self.report = report


def check_request(request: Message) -> None:
    """Raise ControlError for a request that is out of its bounds.

    The node would not only refuse it: it closes a connection that brings a malformed request, and with it
    everything else that waits there.
    """
    if isinstance(request, RenameDevice) and not 1 <= len(request.name) <= _MAX_NAME_CHARS:
        raise ControlError("invalid_name", f"a name has 1 to {_MAX_NAME_CHARS} characters")
    try:
        decode_request(encode(request))
    except (MalformedMessageError, UnicodeEncodeError, OverflowError):
        # A text may hold what is no character, such as a byte of an argument that is no UTF-8.
        kind = type(request).__name__
        raise ControlError("bad_request", f"a value of {kind} is out of its bounds") from None


def result_of(reply: Reply, expected: type[_R]) -> _R:
    """Return the reply if it is of the type `expected`.

    Raises ControlError for a refusal or any other type.
    """
    if isinstance(reply, Error):
        raise ControlError(reply.code, reply.message)
    if isinstance(reply, expected):
        return reply
    raise ControlError("internal", "the node's answer is not of the kind that was asked for")


def no_reply_error(seconds: float | None = None) -> NodeGoneError:
    """Return the error for a request that got no reply in time, though a node may be there.

    `seconds` is that time, if it was not REPLY_TIMEOUT_S.
    """
    return NodeGoneError(f"the node has not answered for {seconds or REPLY_TIMEOUT_S:.0f} s")


def node_gone_error(refusal: Error | None = None, seconds: float | None = None) -> SpacedriveNodeError:
    """Return the error for everything that waits when no node has come back in time.

    `seconds` is that time, if it was not RECONNECT_TIMEOUT_S. `refusal` is what one has said to the last
    connection that is there, and takes no more of them.
    """
    if refusal is not None:
        return ControlError(refusal.code, refusal.message)
    return NodeGoneError(f"no node has answered for {seconds or RECONNECT_TIMEOUT_S:.0f} s")


def nobody_there_error(control: Path, error: OSError) -> NoNodeRunningError:
    """Return the error for a socket on which nothing listened from the first."""
    return NoNodeRunningError(
        f"no node answers on {control} ({error.strerror or error}); start one with: sdnode up"
    )
