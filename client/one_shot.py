"""One request to a running node and its reply, without an event loop: for a command that asks once and ends.

Importing an event loop would take such a command longer than its request. Owns a connection for the length
of the request. When it is lost, the request is repeated on another one; that is safe, because a request
that changes something carries a key, and the node answers a repeated key without doing it again
(docs/interfaces.md, "Control socket"). Whatever lasts longer than one reply is node_client.py's.
"""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ..config.paths import check_socket_path
from ..messages.base import CONTROL_LIMIT, FrameReader, MalformedMessageError, Message, encode, frame
from ..messages.control_protocol import Error, Reply, decode_reply
from ..messages.errors import SpacedriveNodeError
from . import errors
from .errors import check_request, no_reply_error, nobody_there_error, node_gone_error, result_of

_REQUEST_ID = 1
_CONNECT_TIMEOUT_S = 5
"""For which the queue of a node's listener may be full."""
_FIRST_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.5
_CHUNK_BYTES = 64 * 1024
_R = TypeVar("_R", bound=Message)


class _ConnectionLostError(SpacedriveNodeError):
    """The node has closed the connection; `refusal` is what it has said to that, if anything."""

    def __init__(self, refusal: Error | None) -> None:
        super().__init__()
        self.refusal = refusal


def call(
    control: Path, expected: type[_R], make: Callable[[int], Message], timeout: float | None = None
) -> _R:
    """Send one request and return its reply, of the type `expected`; `make` builds the request from its id.

    Raises NoNodeRunningError when nothing listens at first, ControlError when the node refuses, and
    NodeGoneError when it goes away for RECONNECT_TIMEOUT_S or does not reply for REPLY_TIMEOUT_S; with a
    `timeout` of less, when so many seconds have passed.
    """
    request = make(_REQUEST_ID)
    check_request(request)
    data = frame(encode(request), CONTROL_LIMIT)
    deadline = time.monotonic() + (errors.REPLY_TIMEOUT_S if timeout is None else timeout)
    try:
        sock = _connect(control, timeout)
    except OSError as error:
        raise nobody_there_error(control, error) from None
    pause, give_up_at = _FIRST_PAUSE_S, 0.0
    while True:
        try:
            with sock:
                return result_of(_send_and_receive(sock, data, deadline), expected)
        except TimeoutError:
            raise no_reply_error(timeout) from None
        except (_ConnectionLostError, MalformedMessageError, OSError) as error:
            now = time.monotonic()
            give_up_at = give_up_at or now + errors.RECONNECT_TIMEOUT_S  # counts from the first loss
            if now > give_up_at or (timeout is not None and now > deadline):
                refusal = error.refusal if isinstance(error, _ConnectionLostError) else None
                raise node_gone_error(refusal, timeout) from None
        # The pause between two attempts is the backoff; nothing announces that a node is back.
        time.sleep(pause)
        pause = min(2 * pause, _MAX_PAUSE_S)
        sock = _reconnect(control)


def _send_and_receive(sock: socket.socket, data: bytes, deadline: float) -> Reply:
    """Send one request and return its reply.

    Raises TimeoutError, _ConnectionLostError, MalformedMessageError, OSError.
    """
    reader = FrameReader(CONTROL_LIMIT)
    refusal: Error | None = None
    _set_timeout(sock, deadline)
    with suppress(ConnectionError):  # closed already, perhaps with a word
        sock.sendall(data)
    while True:
        while (payload := reader.next_frame()) is not None:
            reply = decode_reply(payload)
            # A node that could not even read the id refuses with id 0: then it means this request too.
            if reply.id == _REQUEST_ID or (isinstance(reply, Error) and reply.code == "bad_request"):
                return reply
            if reply.id == 0 and isinstance(reply, Error):  # of the connection itself: the node has too many
                refusal = reply
        _set_timeout(sock, deadline)
        try:
            received = sock.recv(_CHUNK_BYTES)
        except ConnectionError:  # it has not read the request
            received = b""
        if not received:
            raise _ConnectionLostError(refusal)
        reader.feed(received)


def _set_timeout(sock: socket.socket, deadline: float) -> None:
    """Let the next operation last until `deadline` at most. Raises TimeoutError when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _connect(control: Path, timeout: float | None = None) -> socket.socket:
    """Connect. Raises OSError, also when the listener's queue stays full."""
    check_socket_path(control)
    longest = _CONNECT_TIMEOUT_S if timeout is None else min(timeout, _CONNECT_TIMEOUT_S)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # With settimeout the socket would not block, and a full queue would be an error at once; with the
        # kernel's own timeout, connect waits for room.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *_whole_and_micro(longest)))
        sock.connect(str(control))
    except BaseException:
        sock.close()
        raise
    return sock


def _whole_and_micro(seconds: float) -> tuple[int, int]:
    """Return seconds as a struct timeval has them."""
    return int(seconds), int(seconds % 1 * 1_000_000)


def _reconnect(control: Path) -> socket.socket:
    """Connect, or return a socket that is not connected: using it fails like one whose connection is lost."""
    try:
        return _connect(control)
    except OSError:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
