"""A fake node for the command line: a real Unix socket that speaks messages/control_protocol.py.

It answers as the test has configured it, and keeps the requests that it received.
"""

import os
import queue
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from msgspec import UNSET

from spacedrive_node.messages.base import CONTROL_LIMIT, Decoder, FrameReader, Message, encode, frame
from spacedrive_node.messages.control_protocol import (
    ActorList,
    CancelPairing,
    Decide,
    DeviceList,
    DevicesChanged,
    Done,
    Error,
    ForgetDevice,
    JoinPairing,
    ListActors,
    ListDevices,
    NodeStatus,
    Reload,
    Reloaded,
    RenameDevice,
    Request,
    SessionEvent,
    SessionStarted,
    SessionState,
    ShownDevice,
    StartPairing,
    Status,
    Subscribe,
    WatchDevices,
)
from spacedrive_node.messages.to_gateway import ActorInfo, Device, ReloadReport
from spacedrive_node.protocol.code import qr_payload, words_of
from spacedrive_node.protocol.identity import device_id
from spacedrive_node.protocol.peer_ids import peer_id_of

SESSION = "00112233aabbccdd"
ENTROPY = bytes(range(16))
WORDS = " ".join(words_of(ENTROPY))
KEY = bytes(range(32))
PEER = peer_id_of(bytes(range(1, 33)))
QR = qr_payload(ENTROPY, PEER, ["/ip4/127.0.0.1/tcp/7520"])
PHONE = ShownDevice(device_id=device_id(KEY), name="phone", os="android", peer=PEER, public_key=KEY)
DEADLINE = 60.0
R = TypeVar("R", bound=Message)
_decode = Decoder(Request)


def state(stage="waiting", role="initiator", **fields) -> SessionState:
    """Return a state of the one session."""
    return SessionState(session=SESSION, role=role, stage=stage, **fields)


def code_state() -> SessionState:
    """Return an initiator's first state, with a code."""
    return state(words=WORDS, qr=QR, expires_in=300.0)


def confirm_state(role="initiator", **fields) -> SessionState:
    """Return the state in which the user is asked: the other device has proved that it knows the code."""
    return state("deciding", role, device=PHONE, check="123456", **fields)


def paired_state(role="initiator") -> SessionState:
    """Return the final state of a successful pairing."""
    return state(
        "storing",
        role,
        device=PHONE,
        check="123456",
        accepted=True,
        outcome="paired",
        fingerprint="0123456789abcdef",
        seconds=1.25,
        path="direct",
        transport="quic",
    )


def ended_state(outcome, role="initiator", stage="waiting", message="because") -> SessionState:
    """Return the final state of a pairing that failed."""
    return state(stage, role, outcome=outcome, message=message)


def device(number: int, name: str) -> Device:
    """Return a trusted device whose id begins with its number."""
    return Device(
        device_id=bytes([number]) + bytes(15),
        name=name,
        os="linux",
        peer=PEER,
        public_key=KEY,
        state="paired",
        paired_at=1_700_000_000.0,
        fingerprint="0123456789abcdef",
    )


class FakeNode:
    """Serves one session, some devices and a fixed status, in threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.actors = ACTORS
        self.devices: list[Device] = []
        self.refuse: dict[str, tuple[str, str]] = {}
        """Request name → (code, message) of the Error to answer with."""
        self.silent: set[str] = set()
        """Requests that get no answer."""
        self.after_decision: list[SessionState] = []
        self.missing: tuple[str, ...] = ()
        """What it lacks to be ready."""
        self.reports: list[ReloadReport] = []
        """The answers to Reload, in their order."""
        self.requests: queue.Queue[Message] = queue.Queue()
        self._states: list[SessionState] = []
        self._subscribers: list[tuple[socket.socket, int]] = []
        self._connections: list[socket.socket] = []
        self._lock = threading.RLock()
        self._listener: socket.socket | None = None
        self.listen()

    def listen(self) -> None:
        """Start to serve."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(self.path))
        self._listener.listen(16)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Close the socket and all connections, as a killed node does."""
        with self._lock:
            if self._listener is not None:
                # shutdown, because close alone does not wake the thread in accept
                self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
                self.path.unlink()
            self.drop()

    def drop(self) -> None:
        """Cut every connection, as a restart of the gateway does."""
        with self._lock:
            self._subscribers.clear()
            for connection in self._connections:
                with suppress(OSError):  # gone already
                    connection.shutdown(socket.SHUT_RDWR)
            self._connections.clear()

    def push_states(self, *states: SessionState) -> None:
        """Set the next states of the session, and send them to all subscribers."""
        with self._lock:
            for new in states:
                self._states.append(new)
                for connection, id in self._subscribers:
                    self._send(connection, SessionEvent(id, new))

    def wait_for(self, kind: type[R]) -> R:
        """Return the next request of one kind. Requests before it are dropped."""
        while True:
            request = self.requests.get(timeout=DEADLINE)
            if isinstance(request, kind):
                return request

    def unread_requests(self) -> list[str]:
        """Return the names of the requests that no `wait_for` has returned, and drop them."""
        names = []
        while not self.requests.empty():
            names.append(type(self.requests.get_nowait()).__name__)
        return names

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = FrameReader(CONTROL_LIMIT)
        with connection:
            while True:
                try:
                    data = connection.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                reader.feed(data)
                while (payload := reader.next_frame()) is not None:
                    request = _decode(payload)
                    with self._lock:
                        self._answer(connection, request)
                    self.requests.put(request)

    def _answer(self, connection: socket.socket, request: Message) -> None:
        name = type(request).__name__
        id = request.id
        if name in self.silent:
            return
        if name in self.refuse:
            code, message = self.refuse[name]
            self._send(connection, Error(id, code, message))
            return
        match request:
            case StartPairing() | JoinPairing():
                self._send(connection, SessionStarted(id, SESSION))
            case Subscribe():
                self._send(connection, Done(id))
                self._subscribers.append((connection, id))
                if self._states:
                    self._send(connection, SessionEvent(id, self._states[-1]))
            case WatchDevices():
                self._send(connection, Done(id))
                self._send(connection, DevicesChanged(id))
            case ListDevices(after=after):
                rest = [one for one in self.devices if one.device_id > after]
                self._send(connection, DeviceList(id, tuple(rest[:2]), len(rest) > 2))
            case Reload():
                self._send(connection, Reloaded(id, self.reports.pop(0)))
            case Status():
                self._send(connection, status(id, self.missing))
            case ListActors(after=after):
                names = [row.actor for row in self.actors]
                rest = self.actors[0 if after is UNSET else names.index(after) + 1 :]
                page = rest[:_ACTORS_IN_A_PAGE]
                self._send(connection, ActorList(id, page, len(rest) > len(page) or UNSET))
            case Decide():
                self._send(connection, Done(id))
                self.push_states(*self.after_decision)
            case CancelPairing() | RenameDevice() | ForgetDevice():
                self._send(connection, Done(id))
            case _:
                self._send(connection, Error(id, "bad_request", "not served here"))

    def _send(self, connection: socket.socket, message: Message) -> None:
        with suppress(OSError):  # the client is gone
            connection.sendall(frame(encode(message), CONTROL_LIMIT))


_ACTORS_IN_A_PAGE = 2
ACTORS = (
    ActorInfo("supervisor", 10, "running", 0, 5.0, 0, 30 * 2**20, 20 * 2**20),
    ActorInfo("zygote", 11, "running", 0, 5.0, 0, 20 * 2**20, 2**20),
    ActorInfo("vault", 12, "running", 2, 4.5, 1, 25 * 2**20, 3 * 2**20),
)


def status(id: int, missing: tuple[str, ...] = ()) -> NodeStatus:
    """Return the status of this node, which is ready if nothing is missing."""
    return NodeStatus(
        id=id,
        name="desk",
        peer=PEER,
        version="0.1.0",
        addresses=("/ip4/127.0.0.1/tcp/7520",),
        reachability="private",
        dht_mode="auto",
        dht_peers=3,
        sessions_active=1,
        sessions_limit=256,
        ready=not missing,
        missing=missing,
        listening=("/ip4/0.0.0.0/tcp/7520", "/ip6/::/tcp/7520", "/ip4/0.0.0.0/udp/7520/quic-v1"),
        mdns="announcing",
        mdns_interfaces=2,
    )
