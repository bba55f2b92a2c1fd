"""One question: answered across lost connections, refused, unanswered, and nobody there."""

import socket
import threading
from contextlib import suppress

import pytest

from spacedrive_node.client import errors
from spacedrive_node.client.errors import ControlError, NodeGoneError
from spacedrive_node.client.one_shot import call
from spacedrive_node.config.running_nodes import NoNodeRunningError
from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, encode, frame
from spacedrive_node.messages.control_protocol import (
    DeviceList,
    Done,
    Error,
    NodeStatus,
    RenameDevice,
    StartPairing,
    Status,
)
from spacedrive_node.tests.harness.fake_node import KEY, status


class Bare:
    """A node that says, to one connection after another, just what it is told to: bytes, or nothing."""

    def __init__(self, path, *answers):
        self.requests = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, args=(answers,), daemon=True)
        self._thread.start()

    def _serve(self, answers):
        for answer in answers:
            connection, _ = self._listener.accept()
            with connection:
                reader = FrameReader(CONTROL_LIMIT)
                while (payload := reader.next_frame()) is None:
                    reader.feed(connection.recv(4096))
                self.requests.append(payload)
                connection.sendall(answer)
        self._listener.close()

    def end(self):
        self._thread.join(20)


def framed(message):
    return frame(encode(message), CONTROL_LIMIT)


GOOD = framed(status(1))


@pytest.mark.parametrize(
    "first",
    [b"", GOOD[:7], framed(status(9)), b"\xff" * 8, frame(b"\xc1", CONTROL_LIMIT)],
    ids=["nothing", "half", "of another request", "too long", "no message"],
)
def test_a_connection_that_is_lost_is_made_again(folder, first):
    """The same bytes are asked on the next connection, and its answer is the answer."""
    node = Bare(folder / "c.sock", first, GOOD)
    key = bytes(range(16))

    def wish(id):
        return RenameDevice(id, key, bytes(16), "tablet")

    assert call(folder / "c.sock", NodeStatus, wish).name == "desk"
    node.end()
    assert node.requests == [encode(wish(1))] * 2


@pytest.mark.parametrize("id", [1, 0], ids=["of it", "of it cannot tell which"])
def test_a_refusal(folder, id):
    """The node's reason, also when it could not even tell which request it refuses."""
    Bare(folder / "c.sock", framed(Error(id, "bad_request", "no")))
    with pytest.raises(ControlError, match="no"):
        call(folder / "c.sock", NodeStatus, Status)


def test_an_answer_of_another_kind(folder):
    """A status is no list of devices."""
    Bare(folder / "c.sock", GOOD)
    with pytest.raises(ControlError, match="not of the kind"):
        call(folder / "c.sock", DeviceList, Status)


def test_a_node_that_goes_away_for_good(node, monkeypatch):
    """It was there, and does not come back: NodeGoneError after the patience, and no wait for ever."""
    monkeypatch.setattr(errors, "RECONNECT_TIMEOUT_S", 0.2)
    node.silent = {"Status"}
    gone = threading.Thread(target=lambda: (node.wait_for(Status), node.stop()), daemon=True)
    gone.start()
    with pytest.raises(NodeGoneError, match="no node has answered"):
        call(node.path, NodeStatus, Status)
    gone.join(20)


def test_who_waits_less_is_told_how_long(node):
    """As doctor and the completion of a shell do."""
    node.silent = {"Status"}
    with pytest.raises(NodeGoneError, match="has not answered for 1 s"):
        call(node.path, NodeStatus, Status, 1)


@pytest.mark.parametrize("bytes_read", [0, 4096])
def test_a_node_that_takes_no_more_connections(folder, monkeypatch, bytes_read):
    """It is there, and says why it does not answer: that is what the user is told. It reads no request."""
    monkeypatch.setattr(errors, "RECONNECT_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "c.sock"))
        listener.listen()

        def refuse_all():
            with suppress(OSError):  # the end of the test
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(bytes_read)
                        connection.sendall(framed(Error(0, "busy", "the node serves 128 clients at once")))

        refusing = threading.Thread(target=refuse_all, daemon=True)
        refusing.start()
        with pytest.raises(ControlError, match="128 clients") as refused:
            call(folder / "c.sock", NodeStatus, Status)
        assert refused.value.code == "busy"
        listener.shutdown(socket.SHUT_RDWR)
        refusing.join(20)


def test_a_node_that_comes_back(node):
    """The question waits for it."""
    node.silent = {"Status"}

    def restart():
        node.wait_for(Status)
        node.stop()
        node.silent = set()
        node.listen()

    back = threading.Thread(target=restart, daemon=True)
    back.start()
    assert call(node.path, NodeStatus, Status).name == "desk"
    back.join(20)


def test_a_node_that_never_answers(node, monkeypatch):
    """It listens and says nothing: that has an end too."""
    monkeypatch.setattr(errors, "REPLY_TIMEOUT_S", 0.2)
    node.silent = {"Status"}
    with pytest.raises(NodeGoneError, match="has not answered for"):
        call(node.path, NodeStatus, Status)


def test_nobody_there(folder):
    """No socket, and a socket that nobody listens on, both say how to start a node."""
    with pytest.raises(NoNodeRunningError, match="sdnode up"):
        call(folder / "none.sock", NodeStatus, Status)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "left.sock"))
        with pytest.raises(NoNodeRunningError, match="sdnode up"):
            call(folder / "left.sock", NodeStatus, Status)


def test_a_full_queue_is_waited_for(folder):
    """As many as the listener takes are waiting already; it gets to this one as well."""
    path = folder / "c.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        first = socket.socket(socket.AF_UNIX)
        first.connect(str(path))

        def serve():
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(4096):
                        connection.sendall(GOOD)

        threading.Timer(0.1, first.close).start()
        late = threading.Timer(0.2, serve)
        late.start()
        assert call(path, NodeStatus, Status).name == "desk"
        late.join(20)


def test_what_the_node_would_refuse_is_not_even_sent(folder):
    """A name that is too long, and a device id that is none."""
    with pytest.raises(ControlError, match="1 to 64"):
        call(folder / "none.sock", Done, lambda id: RenameDevice(id, KEY[:16], bytes(16), "x" * 65))
    with pytest.raises(ControlError, match="out of its bounds"):
        call(folder / "none.sock", Done, lambda id: RenameDevice(id, KEY[:16], bytes(3), "x"))
    with pytest.raises(ControlError, match="out of its bounds"):
        call(folder / "none.sock", Done, lambda id: RenameDevice(id, KEY[:16], bytes(16), "\udcff"))
    with pytest.raises(ControlError, match="out of its bounds"):
        call(folder / "none.sock", Done, lambda id: StartPairing(id, KEY[:16], 10**30))
