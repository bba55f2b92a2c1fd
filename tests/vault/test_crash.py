"""Whatever instant a vault dies at, each input takes effect exactly once.

Every point before and after each SQL statement is tried, once by abandoning the vault's object there and once
by SIGKILL of a real process; then it is restarted with the same checkpoint, inputs and envelope ids.
"""

import os
import signal
import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from spacedrive_node.messages.base import Message, encode
from spacedrive_node.messages.peer_protocol import Refused
from spacedrive_node.messages.to_gateway import DeviceChanged, Readiness
from spacedrive_node.messages.to_session import Stored, StoreRefused
from spacedrive_node.messages.to_vault import ConfirmDevice, ForgetDevice, RenameDevice, Settled
from spacedrive_node.protocol.keys import fingerprint

PARTS = 8
"""In so many tests the points are tried, so that none takes long on a busy machine."""


class KilledError(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


def killing(at: int, kill: Callable[[], None]) -> Callable[[str], None]:
    """Return a probe that calls `kill` at the `at`-th point from now."""
    left = at

    def probe(_point: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            kill()

    return probe


def _raise() -> None:
    raise KilledError


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Story:
    """A whole life of one device record, as the inputs of the vault with fixed envelope ids."""

    def __init__(self, other: Any) -> None:
        # No clock is stated, so these are pairings that overlap: the greater transcript is the one in use.
        self.old, self.direct, self.new = sorted(
            (other.pairing() for _ in range(3)), key=lambda pairing: pairing.th3
        )
        dropped = other.pairing()
        device = other.device_id
        inputs: list[tuple[str, Message, Message | None]] = []
        for pairing in (self.old, self.direct, self.new, dropped):
            inputs += [
                (pairing.sender, pairing.sign(), ANY),
                ("gateway", pairing.accept(), None),
                ("swarm", pairing.vouch(), None),
            ]
        confirmed = self.new.acknowledgement
        closed = encode(Refused(dropped.code_id, dropped.attempt, "closed"))
        inputs += [
            (self.old.sender, self.old.store(), Stored(7, "unconfirmed")),
            (self.old.sender, ConfirmDevice(1, self.old.th3), Stored(1, "paired")),
            ("gateway", RenameDevice(2, device, "Attic"), DeviceChanged(2)),
            (self.direct.sender, self.direct.store(acknowledged=True), Stored(7, "paired")),
            (self.new.sender, self.new.store(), Stored(7, "unconfirmed")),
            ("swarm", Settled(other.peer, confirmed), None),
            (dropped.sender, dropped.store(), Stored(7, "unconfirmed")),
            ("swarm", Settled(other.peer, closed), None),
        ]
        self.inputs = [(os.urandom(16), *entry) for entry in inputs]

    def check_end(self, host: Any, other: Any) -> None:
        (device,) = host.devices()
        assert (device.state, device.name) == ("paired", "Attic")
        assert device.fingerprint == fingerprint(self.new.secret)
        assert host.known == {other.peer: None}
        states = [record.state for record in host.vault._store.all_records()[0]]
        assert states == ["replaced", "replaced", "paired"]
        rows = host.vault._store._run("SELECT seq FROM sqlite_sequence WHERE name = 'devices'")
        assert rows == [(4,)], "a device was stored twice"


@pytest.mark.parametrize("first", range(1, PARTS + 1))
def test_killed_at_every_point(tmp_path: Path, other: Any, new_host: Any, first: int) -> None:
    """Every point of every input: the answers and the end are those of a run without a crash.

    Each part of the test takes every `PARTS`-th point.
    """
    for points in count(first, PARTS):
        host, story, killed = new_host(tmp_path / str(points)), Story(other), False
        host.open()
        host.vault._store._probe = killing(points, _raise)
        for id, sender, message, expected in story.inputs:
            try:
                answer = host.request(sender, message, id)
            except KilledError:
                killed = True
                host.known.clear()  # standing messages of a step that was never sent; the start repeats them
                host.restart()
                answer = host.request(sender, message, id)
            assert answer == expected
        host.vault._store._probe = lambda _point: None
        story.check_end(host, other)
        host.close()
        if not killed:
            break
    assert points > 50


def test_sigkill_of_a_real_process(tmp_path: Path, other: Any, new_host: Any) -> None:
    """The same with a process that really dies, holding the lock and an open write-ahead log."""
    for points in range(1, 14):
        host, pairing = new_host(tmp_path / str(points)), other.pairing()
        host.open()
        host.admit(pairing)
        host.close()
        id = os.urandom(16)
        child = os.fork()
        if child == 0:
            try:
                host.open()
                host.vault._store._probe = killing(points, _die)
                host.request(pairing.sender, pairing.store(), id)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        host.open()
        assert host.request(pairing.sender, pairing.store(), id) == Stored(7, "unconfirmed")
        assert host.request(pairing.sender, ConfirmDevice(1, pairing.th3)) == Stored(1, "paired")
        assert len(host.devices()) == 1
        assert host.vault._store._run("SELECT seq FROM sqlite_sequence WHERE name = 'devices'") == [(1,)]
        host.close()


def test_a_repeated_request_of_a_client_gets_the_first_answer(host: Any, other: Any) -> None:
    """The same key long afterwards, and with another request number: nothing is done a second time.

    What the swarm is told then is the present truth, not what was true at the first time.
    """
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    key = os.urandom(16)
    assert host.request("gateway", ForgetDevice(1, other.device_id), key) == DeviceChanged(1)
    again = other.pairing()
    host.admit(again)
    host.request(again.sender, again.store())
    assert host.request("gateway", ForgetDevice(9, other.device_id), key) == DeviceChanged(9)
    assert len(host.devices()) == 1
    assert host.known == {other.peer: None}


def test_an_id_counts_for_its_sender_only(host: Any, other: Any) -> None:
    """A session that guesses another sender's envelope id neither gets its answer nor blocks it."""
    pairing = other.pairing()
    host.admit(pairing)
    id = os.urandom(16)
    assert host.request(pairing.sender, pairing.store(), id) == Stored(7, "unconfirmed")
    assert isinstance(host.request("session-ffffffffffffffff", pairing.store(), id), StoreRefused)


def test_the_journal_is_bounded(host: Any, other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the latest inputs are remembered."""
    monkeypatch.setattr("spacedrive_node.actors.vault.device_store.MAX_JOURNAL_ROWS", 5)
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    for number in range(12):
        host.request("gateway", RenameDevice(number, other.device_id, f"n{number}"))
    assert host.vault._store._run("SELECT count(*) FROM journal") == [(5,)]


def test_a_store_that_cannot_be_written(host: Any, other: Any) -> None:
    """A full disk refuses the device and shows in readiness; nothing is half done, and it recovers."""
    pairing = other.pairing()
    host.admit(pairing)

    def full(point: str) -> None:
        if point.startswith("before INSERT INTO journal"):
            raise sqlite3.OperationalError("database or disk is full")

    host.vault._store._probe = full
    out = [send.message for send in host.step(pairing.sender, pairing.store()).out]
    assert [type(message) for message in out] == [Readiness, Readiness, StoreRefused]
    assert not out[0].ready
    host.vault._store._probe = lambda _point: None
    assert host.devices() == ()
    out = [send.message for send in host.step(pairing.sender, pairing.store()).out]
    assert Readiness("vault", True, "") in out
    assert Stored(7, "unconfirmed") in out
