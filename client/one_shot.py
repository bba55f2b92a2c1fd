"""One question to a running node and its answer, without an event loop: for a command that asks and ends.

Owns a connection for the length of the question. When it is lost the question is repeated on another, which
is safe, for what changes something carries a key of its own (docs/interfaces.md, "Control socket"). Whatever
lasts longer than one answer is node_client.py's.
"""

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..config.paths import NoNodeRunningError, check_length
from ..messages.base import CONTROL_LIMIT, FrameReader, MalformedMessageError, Message, encode, frame
from ..messages.control_protocol import Error, Reply, decode_reply
from ..messages.errors import SpacedriveNodeError
from . import errors
from .errors import answer_of, check_request, gone, unanswered

_ID = 1
_CONNECTING = 5
"""Seconds that the queue of a node's listener may be full."""
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_CHUNK = 64 * 1024
_R = TypeVar("_R", bound=Message)


class _ConnectionLostError(SpacedriveNodeError):
    """The connection has ended, or said what is no frame."""


def ask(control: Path, expected: type[_R], make: Callable[[int], Message]) -> _R:
    """Ask and return the answer; `make` builds the request from its id.

    Raises NoNodeRunningError, ControlError, and NodeGoneError: the node went away for long, or does not
    answer.
    """
    request = make(_ID)
    check_request(request)
    data = frame(encode(request), CONTROL_LIMIT)
    deadline = time.monotonic() + errors.ANSWER
    try:
        sock = _connect(control)
    except OSError as error:
        raise NoNodeRunningError(
            f"no node answers on {control} ({error.strerror or error}); start one with: sdnode up"
        ) from None
    pause, patience = _FIRST_PAUSE, 0.0
    while True:
        try:
            with sock:
                return answer_of(_exchange(sock, data, deadline), expected)
        except TimeoutError:
            raise unanswered() from None
        except (_ConnectionLostError, MalformedMessageError, OSError):
            now = time.monotonic()
            patience = patience or now + errors.PATIENCE  # it begins when the node is first missed
            if now > patience:
                raise gone() from None
        # The pause between two attempts is the backoff; nothing announces that a node is back.
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        sock = _connect_again(control)


def _exchange(sock: socket.socket, data: bytes, deadline: float) -> Reply:
    """Send one request and return its answer.

    Raises TimeoutError, _ConnectionLostError, MalformedMessageError, OSError.
    """
    reader = FrameReader(CONTROL_LIMIT)
    _limit(sock, deadline)
    sock.sendall(data)
    while True:
        while (payload := reader.next_frame()) is not None:
            reply = decode_reply(payload)
            if reply.id == _ID or (isinstance(reply, Error) and reply.code == "bad_request"):
                return reply  # the second: it could not even tell which request
        _limit(sock, deadline)
        received = sock.recv(_CHUNK)
        if not received:
            raise _ConnectionLostError
        reader.feed(received)


def _limit(sock: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _connect(control: Path) -> socket.socket:
    """Connect. Raises OSError: also when the listener's queue stays full."""
    check_length(control)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # With a timeout of Python's own, a full queue is an error at once; the kernel's waits for room.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _CONNECTING, 0))
        sock.connect(str(control))
    except BaseException:
        sock.close()
        raise
    return sock


def _connect_again(control: Path) -> socket.socket:
    """Connect, or return a socket that is not connected: using it fails like one whose connection is lost."""
    try:
        return _connect(control)
    except OSError:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
