"""A database that was lost is missed: the identity beside it remembers that there was one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spacedrive_node.actors.vault.passphrase_seal import Argon2Costs
from spacedrive_node.messages.to_gateway import Readiness
from spacedrive_node.messages.to_session import Stored, StoreRefused
from spacedrive_node.messages.to_vault import ForgetDevice
from spacedrive_node.tests.harness.vault_actor import OtherDevice, VaultHost

DATABASE = ("devices.db", "devices.db-wal", "devices.db-shm")


def store(host: VaultHost, device: OtherDevice) -> Any:
    pairing = device.pairing()
    host.admit(pairing)
    return host.request(pairing.sender, pairing.store())


def lose(host: VaultHost, how: str) -> None:
    host.close()
    for name in DATABASE:
        (host.data_dir / name).unlink(missing_ok=True)
    if how == "emptied":
        (host.data_dir / "devices.db").touch(0o600)


def said(effects: Any) -> list[str]:
    """Return the warnings in the log; status and readiness have to say the same."""
    warnings = [str(line.fields["detail"]) for line in effects.logs if line.level == "warning"]
    details = [
        send.message.detail
        for send in effects.out
        if isinstance(send.message, Readiness) and send.to == "gateway"
    ]
    assert details[-1] == (warnings[-1] if warnings else "")
    return warnings


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_lost_database_is_said(host: VaultHost, other: OtherDevice, how: str) -> None:
    """At each start, until something is stored again."""
    assert store(host, other) == Stored(7, "unconfirmed")
    assert said(host.restart()) == []
    lose(host, how)
    (warning,) = said(host.open())
    assert "devices.db was missing or empty" in warning
    assert len(said(host.restart())) == 1
    assert store(host, other) == Stored(7, "unconfirmed")
    assert said(host.restart()) == []


def test_what_was_never_there_or_was_forgotten_is_not_missed(host: VaultHost, other: OtherDevice) -> None:
    """A new device has none, and one whose user has forgotten them all knows it."""
    lose(host, "removed")
    assert said(host.open()) == []
    store(host, other)
    host.request("gateway", ForgetDevice(1, other.device_id))
    assert host.devices() == ()
    assert said(host.restart()) == []


def test_a_sealed_identity_remembers_too(
    tmp_path: Path, other: OtherDevice, new_host: Callable[[Path], VaultHost]
) -> None:
    """Also one that is sealed in place later, and it still opens with its passphrase."""
    host = new_host(tmp_path / "data")
    host.costs = Argon2Costs(memory=64, passes=1, lanes=1)
    host.open()
    key = host.vault._identity.public_key
    store(host, other)
    host.close()
    with (tmp_path / "passphrase").open("wb+") as file:
        file.write(b"a passphrase")
        file.flush()
        host.config = msgspec.structs.replace(host.config, passphrase_fd=file.fileno())
        assert said(host.open()) == []
        assert store(host, OtherDevice()) == Stored(7, "unconfirmed")
        lose(host, "removed")
        assert len(said(host.open())) == 1
        assert host.vault._identity.public_key == key
        host.close()


def test_an_identity_that_cannot_be_written_refuses_the_device(
    host: VaultHost, other: OtherDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written first: never a device that the identity would not miss."""

    def full(_directory: Any, _name: str, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spacedrive_node.actors.vault.data_directory.DataDirectory.write", full)
    pairing = other.pairing()
    host.admit(pairing)
    answers = [send.message for send in host.step(pairing.sender, pairing.store()).out]
    assert any(isinstance(message, StoreRefused) for message in answers)
    assert host.devices() == ()
