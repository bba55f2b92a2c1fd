"""What a vault does while its files cannot be used, and that it goes on by itself when they can."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.actors.base import FatalActorError
from spacedrive_node.actors.vault.store_files import StoreFiles, StoreGoneError, StoreReplacedError
from spacedrive_node.messages.base import Message
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_gateway import DeviceChanged, Readiness, VaultError
from spacedrive_node.messages.to_session import Stored, StoreRefused
from spacedrive_node.messages.to_vault import (
    ConfirmDevice,
    ForgetDevice,
    RenameDevice,
    Settled,
    SettleRequest,
)
from spacedrive_node.tests.harness.small_disk import fill, small_disk
from spacedrive_node.tests.harness.vault_actor import OtherDevice, VaultHost

NewHost = Callable[[Path], VaultHost]


@pytest.fixture
def cramped(tmp_path: Path, new_host: NewHost) -> Iterator[VaultHost]:
    """A vault on a file system of half a MiB."""
    with small_disk(tmp_path / "disk") as disk:
        host = new_host(disk / "data")
        host.open()
        try:
            yield host
        finally:
            host.close()


def readiness(host: VaultHost) -> list[tuple[bool, str]]:
    """Let the vault look after its store. Return what it tells the gateway of its readiness."""
    host.now = max(host.now, host.vault._health.wake_at())
    effects = host.tick()
    return [] if effects is None else said(effects)


def said(effects: Any) -> list[tuple[bool, str]]:
    return [
        (send.message.ready, send.message.detail)
        for send in effects.out
        if isinstance(send.message, Readiness) and send.to == "gateway"
    ]


def answer(host: VaultHost, sender: str, message: Message) -> Message:
    """Return the one answer to the sender, without what is said of readiness."""
    (found,) = [
        send.message
        for send in host.step(sender, message).out
        if send.to == sender and not isinstance(send.message, Readiness)
    ]
    return found


def test_a_disk_that_was_full_for_a_moment(cramped: VaultHost, other: OtherDevice) -> None:
    """The device is refused; once there is room the vault is ready again by itself, and stores."""
    pairing = other.pairing()
    cramped.admit(pairing)
    filler = fill(cramped.data_dir)
    effects = cramped.step(pairing.sender, pairing.store())
    assert [ready for ready, _ in said(effects)] == [False]
    assert any(isinstance(send.message, StoreRefused) for send in effects.out)
    (log,) = effects.logs
    assert (log.event, log.fields["from"]) == ("store failed", pairing.sender)  # and so its session
    for _ in range(3):
        assert not any(ready for ready, _ in readiness(cramped))
    assert readiness(cramped) == []  # what has not changed is not said again
    assert cramped.devices() == ()
    filler.unlink()
    assert readiness(cramped) == [(True, "")]
    assert readiness(cramped) == []
    assert answer(cramped, pairing.sender, pairing.store()) == Stored(7, "unconfirmed")


def test_a_disk_that_is_full_when_a_pairing_completes(cramped: VaultHost, other: OtherDevice) -> None:
    """The record stays unconfirmed and says so; it settles when there is room, at the next contact."""
    pairing = other.pairing()
    cramped.admit(pairing)
    assert answer(cramped, pairing.sender, pairing.store()) == Stored(7, "unconfirmed")
    filler = fill(cramped.data_dir)
    while answer(cramped, "gateway", RenameDevice(1, other.device_id, "x" * 60)) == DeviceChanged(1):
        pass  # the log of the database has some room left
    assert answer(cramped, pairing.sender, ConfirmDevice(8, pairing.th3)) == Stored(8, "unconfirmed")
    forgetting = answer(cramped, "gateway", ForgetDevice(2, other.device_id))
    assert isinstance(forgetting, VaultError)
    assert "make room" in forgetting.message
    cramped.step("supervisor", SessionEnded(pairing.session, "joiner", "lost_contact"))
    filler.unlink()
    assert readiness(cramped) == [(True, "")]
    assert cramped.known == {other.peer: pairing.decision}
    cramped.step("swarm", Settled(other.peer, pairing.acknowledgement))
    assert [device.state for device in cramped.devices()] == ["paired"]


def test_a_disk_that_was_read_only_for_a_while(host: VaultHost, other: OtherDevice) -> None:
    """SQLite refuses every write; when it no longer does, the vault is ready again."""
    pairing = other.pairing()
    host.admit(pairing)

    def read_only(point: str) -> None:
        if point.startswith(("before INSERT", "before DELETE", "before UPDATE")):
            raise sqlite3.OperationalError("attempt to write a readonly database")

    host.vault._store._probe = read_only
    effects = host.step(pairing.sender, pairing.store())
    assert said(effects) == [(False, "the store cannot be written: attempt to write a readonly database")]
    assert readiness(host) == []
    host.vault._store._probe = lambda _point: None
    assert readiness(host) == [(True, "")]


@pytest.mark.parametrize("what", ["data", "identity.key", "devices.db"])
def test_files_that_were_removed_are_missed_at_once(host: VaultHost, other: OtherDevice, what: str) -> None:
    """SQLite would go on writing to files without a name. Nothing is paired with nothing on disk."""
    stored, new = other.pairing(), other.pairing()
    for pairing in (stored, new):
        host.admit(pairing)
    host.request(stored.sender, stored.store())
    if what == "data":
        shutil.rmtree(host.data_dir)
    else:
        (host.data_dir / what).unlink()
    ((ready, detail),) = readiness(host)
    assert not ready
    assert f"{what} was removed" in detail
    assert host.step("swarm", SettleRequest(3, other.peer, stored.peer_decision)).out == []
    assert isinstance(answer(host, new.sender, new.store()), StoreRefused)
    assert isinstance(answer(host, stored.sender, ConfirmDevice(8, stored.th3)), StoreRefused)
    assert readiness(host) == []


def test_a_removal_in_the_middle_of_a_store(host: VaultHost, other: OtherDevice) -> None:
    """It is looked for at the commit, too."""
    pairing = other.pairing()
    host.admit(pairing)

    def remove(point: str) -> None:
        if point.startswith("after INSERT INTO journal"):
            shutil.rmtree(host.data_dir)

    host.vault._store._probe = remove
    assert isinstance(answer(host, pairing.sender, pairing.store()), StoreRefused)


def test_a_directory_that_was_away_for_a_while(host: VaultHost, other: OtherDevice) -> None:
    """The same files come back: the vault goes on with them."""
    away = host.data_dir.with_name("away")
    host.data_dir.rename(away)
    assert [ready for ready, _ in readiness(host)] == [False]
    away.rename(host.data_dir)
    assert readiness(host) == [(True, "")]
    pairing = other.pairing()
    host.admit(pairing)
    assert host.request(pairing.sender, pairing.store()) == Stored(7, "unconfirmed")


def test_a_directory_that_was_restored_from_a_backup(host: VaultHost, other: OtherDevice) -> None:
    """Other files are in its place: the vault ends, is started again, and has what they have."""
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    key = host.vault._identity.public_key
    away, copy = host.data_dir.with_name("away"), host.data_dir.with_name("copy")
    shutil.copytree(host.data_dir, copy)
    host.data_dir.rename(away)
    assert [ready for ready, _ in readiness(host)] == [False]
    host.data_dir.mkdir(0o700)
    (copy / "devices.db").rename(host.data_dir / "devices.db")
    ((ready, detail),) = readiness(host)
    assert not ready
    assert "identity.key was removed" in detail  # it is not there yet
    for file in copy.iterdir():
        file.rename(host.data_dir / file.name)
    with pytest.raises(StoreReplacedError):
        readiness(host)
    host.restart()
    assert host.vault._identity.public_key == key
    assert len(host.devices()) == 1


def test_a_database_that_was_emptied(host: VaultHost, other: OtherDevice) -> None:
    """SQLite goes on with its log, and every commit succeeds; the next start would find no device."""
    pairing = other.pairing()
    host.admit(pairing)
    os.truncate(host.data_dir / "devices.db", 0)
    with pytest.raises(StoreReplacedError):
        host.request(pairing.sender, pairing.store())
    with pytest.raises(StoreReplacedError):
        readiness(host)


def test_a_lock_that_was_removed(host: VaultHost, new_host: type[VaultHost]) -> None:
    """A second node could lock another file of that name, and write to the same store."""
    (host.data_dir / "lock").unlink()
    with pytest.raises(StoreReplacedError):
        readiness(host)
    host.restart()
    assert readiness(host) == []
    second = new_host(host.data_dir)
    with pytest.raises(FatalActorError, match="in use by another node"):
        second.open()
    second.close()


def test_a_log_that_was_removed(host: VaultHost, other: OtherDevice) -> None:
    """What was committed to it alone is not lost: the vault closes the database, and opens it again."""
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    (host.data_dir / "devices.db-wal").unlink()
    with pytest.raises(StoreReplacedError):
        readiness(host)
    host.restart()
    assert len(host.devices()) == 1


def test_files_that_cannot_be_reached(host: VaultHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that may not be searched, or a disk with errors: said by its reason, not as removed."""
    files = StoreFiles(host.data_dir / "devices.db")

    def refuse(path: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("os.stat", refuse)
        try:
            files.check()
            error: Exception | None = None
        except StoreGoneError as raised:
            error = raised
    assert "Permission denied" in str(error)


@pytest.mark.parametrize("file", ["devices.db", "devices.db-wal"])
def test_a_file_that_something_else_has_written_to(host: VaultHost, other: OtherDevice, file: str) -> None:
    """SQLite would not see it before its next start: its cache hides what the file holds."""
    host.admit(pairing := other.pairing())
    host.request(pairing.sender, pairing.store())
    for _ in range(5):
        assert readiness(host) == []
    with (host.data_dir / file).open("r+b") as written:
        written.seek(100)
        written.write(b"garbage" * 100)
    with pytest.raises(StoreReplacedError, match="something else has written to"):
        readiness(host)
    if file == "devices.db":
        host.close()
        with pytest.raises(FatalActorError, match="is damaged; restore it from a backup"):
            host.open()
