"""What stands in for a vault that was started again while its files cannot be opened."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.actors.base import Effects, FatalActorError, Incoming
from spacedrive_node.actors.vault.actor import open_vault
from spacedrive_node.actors.vault.machine import Vault
from spacedrive_node.actors.vault.store_files import StoreReplacedError
from spacedrive_node.actors.vault.waiting import WaitingVault
from spacedrive_node.messages.base import Message
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_gateway import Devices, NodeIdentity, Readiness, VaultError
from spacedrive_node.messages.to_session import Signed, Stored, StoreRefused
from spacedrive_node.messages.to_vault import ConfirmDevice, ForgetDevice, ListDevices, SettleRequest
from spacedrive_node.tests.harness.vault_actor import OtherDevice, VaultHost


class Waiting:
    """A vault whose directory cannot be opened, after it has been killed."""

    def __init__(self, host: VaultHost) -> None:
        self.host, self.resources, self.now = host, ExitStack(), 5000.0
        self.trouble = "no room"
        self.checkpoint = host.checkpoint
        host.close()
        self.machine = WaitingVault(self._open, host.data_dir, host.checkpoint, FatalActorError(self.trouble))
        self.started = self.machine.first(self.now)

    def _open(self, checkpoint: bytes) -> Vault:
        if self.trouble:
            raise FatalActorError(self.trouble)
        return open_vault(self.host.config, checkpoint, self.resources, may_create=False)

    def step(self, sender: str, message: Message, id: bytes | None = None) -> list[Message]:
        effects = self.machine.step(Incoming(sender, 1, id or os.urandom(16), message), self.now)  # type: ignore[arg-type]
        return self._sent(effects)

    def tick(self) -> list[Message]:
        """Let the time come for all that is due."""
        self.now = max(self.now, self.machine.wake_at())
        sent = []
        while self.machine.wake_at() <= self.now:
            sent += self._sent(self.machine.tick(self.now) or Effects())
        return sent

    def _sent(self, effects: Effects) -> list[Message]:
        self.checkpoint = effects.checkpoint or self.checkpoint
        return [send.message for send in effects.out]


@pytest.fixture
def waiting(host: VaultHost) -> Any:
    """Return a function that kills the vault and starts it again without its files."""
    made: list[Waiting] = []

    def start() -> Waiting:
        made.append(Waiting(host))
        return made[-1]

    yield start
    for one in made:
        one.resources.close()


def test_it_says_why_tries_again_and_becomes_the_vault(waiting: Callable[[], Waiting]) -> None:
    """What has not changed is not said again; then it is the same device."""
    one = waiting()
    assert one.started.out[0].message == Readiness("vault", False, "the store cannot be opened: no room")
    assert one.tick() == []
    one.trouble = "no permission"
    assert {message.detail for message in one.tick() if isinstance(message, Readiness)} == {
        "the store cannot be opened: no permission"
    }
    one.trouble = ""
    said = one.tick()
    assert Readiness("vault", True, "") in said
    assert any(isinstance(message, NodeIdentity) for message in said)
    assert [type(message) for message in one.step("gateway", ListDevices(3))] == [Devices]


def test_evidence_and_what_can_wait_are_kept(waiting: Callable[[], Waiting], other: OtherDevice) -> None:
    """A pairing goes on where it stood; one that ended meanwhile is signed for no more."""
    one = waiting()
    pairing, ended = other.pairing(), other.pairing()
    for message in (pairing.accept(), pairing.vouch()):
        assert one.step("gateway", message) == []
    for going in (pairing, ended):
        assert one.step(going.sender, going.sign()) == []
    one.step("supervisor", SessionEnded(ended.session, "joiner", "cancelled"))
    assert one.step("gateway", ListDevices(4)) == []
    one.trouble = ""
    said = one.tick()
    assert [type(message) for message in said if isinstance(message, Signed | Devices)] == [Signed, Devices]
    assert Stored(7, "unconfirmed") in one.step(pairing.sender, pairing.store())
    assert one.checkpoint is not None


def test_what_would_be_written_is_refused(waiting: Callable[[], Waiting], other: OtherDevice) -> None:
    """A session that could not store ends; nobody is answered about settling."""
    one = waiting()
    pairing = other.pairing()
    one.step("gateway", pairing.accept())
    assert [type(answer) for answer in one.step(pairing.sender, pairing.store())] == [StoreRefused]
    assert one.step(pairing.sender, ConfirmDevice(8, pairing.th3)) == [Stored(8, "unconfirmed")]
    assert [type(answer) for answer in one.step("gateway", ForgetDevice(1, bytes(16)))] == [VaultError]
    assert one.step("swarm", SettleRequest(2, other.peer, pairing.peer_decision)) == []


def test_an_input_that_was_written_and_not_answered(
    host: VaultHost, waiting: Callable[[], Waiting], other: OtherDevice
) -> None:
    """It is the first that comes again. It waits for the journal, which has it: stored once, and said so."""
    pairing, id = other.pairing(), os.urandom(16)
    host.admit(pairing)
    host.step(pairing.sender, pairing.store(), id)  # and killed before its Step left
    one = waiting()
    assert one.step(pairing.sender, pairing.store(), id) == []
    one.trouble = ""
    assert Stored(7, "unconfirmed") in one.tick()
    (listed,) = one.step("gateway", ListDevices(3))
    assert isinstance(listed, Devices)
    assert len(listed.devices) == 1


def test_another_directory_in_its_place(host: VaultHost, waiting: Callable[[], Waiting]) -> None:
    """The sandbox does not reach it, so the vault ends and is started again."""
    one = waiting()
    host.data_dir.rename(host.data_dir.with_name("away"))
    assert one.tick() == []
    Path(host.data_dir).mkdir(0o700)
    with pytest.raises(StoreReplacedError):
        one.tick()
