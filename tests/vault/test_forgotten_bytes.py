"""What is forgotten is not in any file any more, not even sealed."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from spacedrive_node.messages.base import encode
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.peer_protocol import Refused
from spacedrive_node.messages.to_gateway import DeviceChanged, StoredDevicesChanged
from spacedrive_node.messages.to_session import StoreRefused
from spacedrive_node.messages.to_vault import ConfirmDevice, ForgetDevice, Settled
from spacedrive_node.tests.harness.vault_actor import VaultHost, VaultPairing


def paired(host: VaultHost, device: Any) -> VaultPairing:
    pairing: VaultPairing = device.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    host.request(pairing.sender, ConfirmDevice(8, pairing.th3))
    return pairing


def sealed_secrets(host: VaultHost) -> list[bytes]:
    return [record.secret for record in host.vault._store.all_records()[0]]


def files_with(host: VaultHost, content: bytes) -> list[str]:
    return [file.name for file in host.data_dir.iterdir() if content in file.read_bytes()]


def forget(host: VaultHost, pairing: VaultPairing) -> None:
    assert host.request("gateway", ForgetDevice(1, pairing.device.device_id)) == DeviceChanged(1)


def hear_closed(host: VaultHost, pairing: VaultPairing) -> None:
    closed = encode(Refused(pairing.code_id, pairing.attempt, "closed"))
    host.step("swarm", Settled(pairing.device.peer, closed))


def come_too_late(host: VaultHost, pairing: VaultPairing) -> None:
    late = pairing.store(deadline=host.now)
    sent = {type(send.message) for send in host.step(pairing.sender, late).out}
    assert {StoreRefused, StoredDevicesChanged} <= sent


@pytest.mark.parametrize("drop", [forget, hear_closed, come_too_late])
def test_a_secret_that_is_dropped_leaves_no_file_with_it(
    host: VaultHost, other: Any, drop: Callable[[VaultHost, VaultPairing], None]
) -> None:
    """However a record goes: neither the database nor its log holds the sealed secret afterwards."""
    pairing = other.pairing()
    host.admit(pairing)
    host.request(pairing.sender, pairing.store())
    (secret,) = sealed_secrets(host)
    assert files_with(host, secret)
    drop(host, pairing)
    assert files_with(host, secret) == []
    assert files_with(host, pairing.device.public_key) == []
    host.tick()
    assert files_with(host, pairing.device.peer) == []


def test_who_was_forgotten_is_in_no_file(host: VaultHost, other: Any, new_device: Any) -> None:
    """Neither key, id nor peer id, of this device's own records of what it did: once it has answered.

    One that was killed before it has answered still knows it when it is asked again, and for two seconds.
    """
    kept, gone = paired(host, new_device()), paired(host, other)
    request = ForgetDevice(1, other.device_id)
    assert host.request("gateway", request, b"i" * 16) == DeviceChanged(1)
    host.restart()
    assert files_with(host, other.peer)
    assert host.request("gateway", request, b"i" * 16) == DeviceChanged(1)
    assert other.peer not in host.known
    for pairing in (kept, gone):  # until then what they have signed may still come
        host.step("supervisor", SessionEnded(pairing.session, "joiner", "paired"))
    host.now += 2
    host.tick()
    for content in (other.peer, other.device_id, other.public_key, gone.th3):
        assert files_with(host, content) == []
    assert files_with(host, kept.device.peer)
    assert host.request("gateway", request, b"i" * 16) == DeviceChanged(1)
    host.step("gateway", ForgetDevice(2, kept.device.device_id))
    host.tick()
    host.restart()
    assert files_with(host, kept.device.peer) == []


def test_many_secrets_in_any_order(host: VaultHost, new_device: Any) -> None:
    """Also where SQLite moves what is left from page to page."""
    chance = random.Random(7)
    pairings = [paired(host, new_device()) for _ in range(40)]
    secrets = sealed_secrets(host)
    chance.shuffle(pairings)
    for number, pairing in enumerate(pairings[:35]):
        forget(host, pairing)
        if number % 10 == 0:
            host.restart()
    left = sealed_secrets(host)
    assert len(left) == 5
    for secret in secrets:
        assert bool(files_with(host, secret)) == (secret in left)


def test_a_replaced_pairing_that_has_aged(host: VaultHost, other: Any) -> None:
    """The hourly sweep leaves nothing of it either."""
    paired(host, other)
    (secret,) = sealed_secrets(host)
    host.wall += 1
    while (
        len(sealed_secrets(host)) < 2
        or host.vault._store.records_of_device(other.device_id, "replaced") == []
    ):
        paired(host, other)
    former = host.vault._store.records_of_device(other.device_id, "replaced")[0].secret
    host.wall += 8 * 24 * 3600
    host.now += 3600
    host.tick()
    assert secret
    assert files_with(host, former) == []


def test_a_vault_that_is_killed_before_it_has_cleaned(host: VaultHost, other: Any) -> None:
    """The next start cleans what the last one had no time for."""

    class KilledError(BaseException):
        pass

    def kill(point: str) -> None:
        if point == "before PRAGMA wal_checkpoint(TRUNCATE)":
            raise KilledError

    pairing = paired(host, other)
    (secret,) = sealed_secrets(host)
    host.vault._store._probe = kill
    with pytest.raises(KilledError):
        forget(host, pairing)
    assert files_with(host, secret)
    host.restart()
    assert files_with(host, secret) == []
