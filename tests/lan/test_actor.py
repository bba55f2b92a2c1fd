"""The loop of this actor, in a thread, with a supervisor that the test plays."""

import socket
import threading

import msgspec
import pytest

from spacedrive_node.actors.lan import actor
from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.sockets import MdnsSockets
from spacedrive_node.messages.actor_configs import LanConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import (
    Deliver,
    Ready,
    Start,
    Stop,
    decode_from_child,
    decode_to_child,
)
from spacedrive_node.messages.to_lan import Browse
from spacedrive_node.supervisor.channel import BlockingChannel

DEADLINE = 14.0
ENOUGH = 3


class RestlessWatch:
    """Always says that an interface has changed."""

    def __init__(self, _groups: int) -> None:
        self.socket, self._writer = socket.socketpair()
        self._writer.send(b"changed")

    def drain(self) -> None:
        """Leave what has come: there is always more."""

    def close(self) -> None:
        self.socket.close()
        self._writer.close()


def test_interfaces_that_change_without_end_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that renews its prefix ten times in a second has the kernel tell of each."""
    reads, has_read = [], threading.Event()
    watches: list[RestlessWatch] = []

    def watch(groups: int) -> RestlessWatch:
        watches.append(RestlessWatch(groups))
        return watches[-1]

    def read_interfaces() -> tuple[Interface, ...]:
        reads.append(None)
        if len(reads) >= ENOUGH:
            has_read.set()
        return ()

    monkeypatch.setattr(actor, "ChangeWatch", watch)
    monkeypatch.setattr(actor, "read_interfaces", read_interfaces)
    monkeypatch.setattr(MdnsSockets, "open", lambda _sockets: [])
    ours, theirs = socket.socketpair()
    supervisor = BlockingChannel(ours, decode_from_child)
    loop = threading.Thread(target=actor.main.serve, args=(BlockingChannel(theirs, decode_to_child),))
    loop.start()
    try:
        supervisor.send(Start("lan", 1, msgspec.Raw(encode(LanConfig()))))
        assert supervisor.receive() == Ready()
        browse = msgspec.Raw(encode(Browse("0" * 16)))
        supervisor.send(Deliver(1, "discovery", 1, "Browse", bytes(16), browse))
        assert has_read.wait(DEADLINE)
    finally:
        supervisor.send(Stop())
        loop.join(DEADLINE)
        for one in watches:
            one.close()
        ours.close()
        theirs.close()
