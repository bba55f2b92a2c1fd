"""What a pairing costs does not grow with how often two devices have paired before."""

from typing import Any

import pytest

from spacedrive_node.actors.vault import device_store
from spacedrive_node.actors.vault.device_record import load
from spacedrive_node.messages.to_session import Stored
from spacedrive_node.messages.to_vault import ConfirmDevice, SettleRequest


def test_few_records_are_opened_for_a_pairing(host: Any, other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tenth and the sixtieth pairing with one device open equally many records."""
    opened = 0

    def counting(*arguments: object) -> object:
        nonlocal opened
        opened += 1
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(device_store, "load", counting)

    def pair() -> int:
        before = opened
        pairing = other.pairing()
        host.admit(pairing)
        for message in (pairing.store(), ConfirmDevice(8, pairing.th3)):
            assert isinstance(host.request(pairing.sender, message), Stored)
        host.step("swarm", SettleRequest(9, other.peer, pairing.peer_decision))
        return opened - before

    costs = [pair() for _ in range(60)]
    assert costs[9] == costs[59] <= 12
