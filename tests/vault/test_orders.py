"""What a formal model of the ending found, replayed against two real vaults."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spacedrive_node.messages.to_session import DeviceForgotten, Stored, StoreRefused
from spacedrive_node.messages.to_vault import ForgetDevice
from spacedrive_node.tests.harness.two_vaults import PairingOfTwo, VaultDevice, settle
from spacedrive_node.tests.harness.vault_actor import OtherDevice

DAY_S = 24 * 3600.0


@pytest.fixture
def new_vault(tmp_path: Path) -> Iterator[Callable[[str], VaultDevice]]:
    made: list[VaultDevice] = []

    def make(name: str) -> VaultDevice:
        made.append(VaultDevice(tmp_path / name))
        return made[-1]

    yield make
    for device in made:
        device.close()


@pytest.fixture
def ada(new_vault: Callable[[str], VaultDevice]) -> VaultDevice:
    return new_vault("ada")


@pytest.fixture
def bob(new_vault: Callable[[str], VaultDevice]) -> VaultDevice:
    return new_vault("bob")


def half_paired(ada: VaultDevice, bob: VaultDevice) -> PairingOfTwo:
    """Both have stored, and the acknowledgement of Ada's decision is lost: she stays unconfirmed."""
    pairing = PairingOfTwo(ada, bob)
    pairing.sign()
    for device in (ada, bob):
        pairing.accept(device)
        assert pairing.store(device) == Stored(7, "unconfirmed")
    assert pairing.confirm(bob) == Stored(8, "paired")
    pairing.end(ada)
    pairing.end(bob)
    return pairing


def pass_days(device: VaultDevice, days: float) -> None:
    """Let days pass, with an hourly sweep at their end."""
    device.wall += days * DAY_S
    device.now = max(device.now + days * DAY_S, device.vault.wake_at())
    device.tick()


def test_an_unconfirmed_entry_outlives_a_long_absence(ada: VaultDevice, bob: VaultDevice) -> None:
    """C1: the other side is paired by it. A month without contact, and both still use the same pairing."""
    pairing = half_paired(ada, bob)
    for device in (ada, bob):
        pass_days(device, 30)
    assert ada.states(bob) == ["unconfirmed"]
    settle(ada, bob)
    assert ada.in_use(bob) == bob.in_use(ada) == pairing.th3


def test_pairing_again_after_a_long_absence_uses_one_pairing(ada: VaultDevice, bob: VaultDevice) -> None:
    """C1: Ada pairs again, and this time Bob hears nothing at the end. They do not use two pairings."""
    half_paired(ada, bob)
    pass_days(ada, 30)
    again = PairingOfTwo(bob, ada)
    again.sign()
    for device in (ada, bob):
        again.accept(device)
        again.store(device)
    again.confirm(ada)
    again.end(ada)
    again.end(bob)
    pass_days(bob, 30)
    settle(ada, bob)
    assert ada.in_use(bob) == bob.in_use(ada) == again.th3


def test_an_unconfirmed_entry_makes_no_room_for_another(
    ada: VaultDevice, bob: VaultDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C1: nor does it go because many more follow; the new one is refused, and both sides hear that."""
    monkeypatch.setattr("spacedrive_node.actors.vault.machine.MAX_UNCONFIRMED_PER_DEVICE", 1)
    half_paired(ada, bob)
    again = PairingOfTwo(ada, bob)
    again.sign()
    again.accept(ada)
    answer = again.store(ada)
    assert isinstance(answer, StoreRefused)
    assert "unconfirmed" in answer.reason
    assert ada.states(bob) == ["unconfirmed"]


def test_a_list_shows_since_when_an_entry_is_unconfirmed(ada: VaultDevice, bob: VaultDevice) -> None:
    """C1: it goes only by the user's will, who therefore has to see how old it is."""
    half_paired(ada, bob)
    stored = ada.wall
    pass_days(ada, 30)
    (device,) = ada.devices()
    assert (device.state, device.paired_at) == ("unconfirmed", stored)


def test_forgetting_ends_the_pairings_under_way(ada: VaultDevice, bob: VaultDevice) -> None:
    """C2: two pairings overlap, and Ada forgets Bob between them. What she signed before is not stored."""
    first, second = PairingOfTwo(ada, bob), PairingOfTwo(bob, ada)
    first.sign()
    second.sign()
    for pairing in (first, second):
        pairing.accept(ada)
        pairing.accept(bob)
    first.store(ada)
    first.store(bob)
    first.confirm(bob)
    ada.forget(bob)
    assert isinstance(second.store(ada), StoreRefused)
    assert isinstance(first.confirm(ada), StoreRefused)
    assert ada.states(bob) == []


def test_forgetting_tells_the_sessions_that_it_ends(
    ada: VaultDevice, bob: VaultDevice, new_device: type[OtherDevice]
) -> None:
    """C2: those that have signed before, also if the vault is killed or the user's request is repeated later.

    A session that has signed nothing, or only after it, may pair with the device.
    """
    first, running, unsigned, later = (PairingOfTwo(ada, bob) for _ in range(4))
    first.complete()
    running.sign()
    unsigned.sign(bob)
    unsigned.accept(ada)
    stranger = new_device().pairing()
    ada.admit(stranger)
    request, key = ForgetDevice(1, bob.device_id), os.urandom(16)

    def told() -> set[str]:
        effects = ada.step("gateway", request, key)
        return {send.to for send in effects.out if send.message == DeviceForgotten(bob.device_id)}

    # Which device the stranger's session pairs with is that session's knowledge: it is told, and goes on.
    expected = {running.sides[ada].sender, stranger.sender}
    assert told() == expected
    ada.restart()
    assert told() == expected
    later.sign()
    assert told() == expected
    for pairing in (later, unsigned):
        if pairing is unsigned:
            pairing.sign(ada)
        else:
            pairing.accept(ada)
        assert pairing.store(ada) == Stored(7, "unconfirmed")
    running.end(ada)
    assert told() == {stranger.sender}


def test_forgetting_is_remembered_by_a_vault_that_is_killed(ada: VaultDevice, bob: VaultDevice) -> None:
    """C2: the vault comes back with its checkpoint, and still refuses what was signed before."""
    first, second = PairingOfTwo(ada, bob), PairingOfTwo(ada, bob)
    first.complete()
    second.sign()
    second.accept(ada)
    ada.forget(bob)
    ada.restart()
    assert isinstance(second.store(ada), StoreRefused)


def test_pairing_after_forgetting_works_and_counts_on(ada: VaultDevice, bob: VaultDevice) -> None:
    """C2: what is signed after it is stored, and its order is greater than all before: the clock stays."""
    first, again = PairingOfTwo(ada, bob), PairingOfTwo(ada, bob)
    other = PairingOfTwo(ada, bob)
    first.complete()
    other.sign()  # a session runs on, so that the vault has to remember that Bob was forgotten
    ada.forget(bob)
    bob.forget(ada)
    again.complete()
    assert ada.in_use(bob) == bob.in_use(ada) == again.th3
    (record,) = ada.vault._store.records_of_device(bob.device_id)
    assert record.order == 2


def test_no_id_of_a_forgotten_device_stays(ada: VaultDevice, bob: VaultDevice) -> None:
    """C2: it is kept while sessions run and no longer."""
    first, second = PairingOfTwo(ada, bob), PairingOfTwo(ada, bob)
    first.complete()
    second.sign()
    ada.forget(bob)
    assert ada.vault._store.any_forgotten()
    second.end(ada)
    assert not ada.vault._store.any_forgotten()


def test_no_id_stays_because_of_a_session_that_is_over(ada: VaultDevice, bob: VaultDevice) -> None:
    """Its user accepted when it had ended already."""
    first, second, third = (PairingOfTwo(ada, bob) for _ in range(3))
    first.complete()
    second.sign()
    second.end(ada)
    second.accept(ada)
    third.sign()
    ada.forget(bob)
    third.end(ada)
    assert not ada.vault._store.any_forgotten()


def test_a_false_clock_of_a_third_device_changes_no_order(
    ada: VaultDevice, bob: VaultDevice, new_device: type[OtherDevice]
) -> None:
    """C3: Ada once paired with a device that states a clock far ahead. She and Bob still agree.

    Of two overlapping pairings the first was signed before that and the second after it.
    """
    for _ in range(3):
        liar = new_device(version="1.0+1000000").pairing()
        first = PairingOfTwo(ada, bob)
        first.sign()
        ada.admit(liar)
        ada.request(liar.sender, liar.store())
        second = PairingOfTwo(bob, ada)
        second.sign()
        for pairing in (second, first):
            for device in (ada, bob):
                pairing.accept(device)
                pairing.store(device)
                pairing.confirm(device)
        assert ada.in_use(bob) == bob.in_use(ada)


@pytest.mark.parametrize("apart", [0, 1, 10_000, 10_001, 10**6])
def test_clocks_far_apart_change_no_order(
    ada: VaultDevice, bob: VaultDevice, new_device: type[OtherDevice], apart: int
) -> None:
    """C3: Bob's clock is far ahead of Ada's, and two pairings overlap. Both sides rank them alike.

    Bob signs for the second pairing between the two endings of the first. A bound that each side takes from
    its own clock makes the orders equal at Ada's and different at Bob's, so that only she compares
    transcripts.
    """
    with bob.vault._store.transaction():
        bob.vault._store.set_clock(apart)
    second = PairingOfTwo(ada, bob)
    second.sign(ada)
    first = PairingOfTwo(ada, bob, th3_is_greater_than=second.th3)
    first.sign()
    for device in (ada, bob):
        first.accept(device)
        first.store(device)
    second.sign(bob)
    for device in (ada, bob):
        second.accept(device)
        second.store(device)
        first.confirm(device)
        second.confirm(device)
    assert ada.in_use(bob) == bob.in_use(ada) == second.th3


def test_a_vault_that_is_late_does_not_store(ada: VaultDevice, bob: VaultDevice) -> None:
    """C4: Bob's session ends, and `closed` was said, before his vault gets to the request. It refuses."""
    pairing = PairingOfTwo(ada, bob)
    pairing.sign()
    pairing.accept(bob)
    assert isinstance(pairing.store(bob, deadline=bob.now), StoreRefused)
    assert bob.states(ada) == []
    assert bob.known == {}
    assert pairing.store(bob, deadline=bob.now + 1) == Stored(7, "unconfirmed")


def test_a_vault_that_was_killed_takes_back_what_it_stored_late(ada: VaultDevice, bob: VaultDevice) -> None:
    """C4: it died between its commit and its Step, and comes back when the session's time is over."""
    pairing, id = PairingOfTwo(ada, bob), b"i" * 16
    pairing.sign()
    pairing.accept(bob)
    checkpoint, deadline = bob.checkpoint, bob.now + 1
    assert pairing.store(bob, deadline, id) == Stored(7, "unconfirmed")
    bob.checkpoint = checkpoint
    bob.restart()
    assert pairing.store(bob, deadline, id) == Stored(7, "unconfirmed")
    bob.restart()
    bob.now = deadline
    assert isinstance(pairing.store(bob, deadline, id), StoreRefused)
    assert bob.states(ada) == []
    assert bob.known == {}


@pytest.mark.parametrize("paired_before", [False, True])
def test_what_was_stored_as_paired_is_taken_back_too(
    ada: VaultDevice, bob: VaultDevice, paired_before: bool
) -> None:
    """The same where the acknowledgement came first; the pairing whose place it took is in use again."""
    former, latter, id = PairingOfTwo(ada, bob), PairingOfTwo(ada, bob), b"i" * 16
    if paired_before:
        former.complete()
    latter.sign()
    latter.accept(bob)
    deadline = bob.now + 1
    checkpoint = bob.checkpoint
    assert latter.store(bob, deadline, id, acknowledged=True) == Stored(7, "paired")
    assert bob.in_use(ada) == latter.th3
    bob.checkpoint = checkpoint
    bob.restart()
    assert latter.store(bob, deadline, id, acknowledged=True) == Stored(7, "paired")
    bob.restart()
    bob.now = deadline
    assert isinstance(latter.store(bob, deadline, id, acknowledged=True), StoreRefused)
    assert bob.in_use(ada) == (former.th3 if paired_before else None)
    assert bob.states(ada) == (["paired"] if paired_before else [])
    assert bool(bob.known) == paired_before


def test_a_replaced_record_is_kept_from_when_it_was_replaced(ada: VaultDevice, bob: VaultDevice) -> None:
    """A pairing that was in use for a year answers repeats for seven days more, not for an hour."""
    former, latter = PairingOfTwo(ada, bob), PairingOfTwo(ada, bob)
    former.complete()
    pass_days(ada, 365)
    latter.complete()
    pass_days(ada, 6.9)
    assert ada.states(bob) == ["replaced", "paired"]
    pass_days(ada, 0.2)
    assert ada.states(bob) == ["paired"]


def test_a_superseded_unconfirmed_entry_asks_too(ada: VaultDevice, bob: VaultDevice) -> None:
    """It can no longer come into use, and goes, or is answered for, like any other."""
    former = half_paired(ada, bob)
    assert ada.known == {bob.peer: former.sides[ada].decision}
    latter = PairingOfTwo(ada, bob)
    latter.complete()
    assert ada.known == {bob.peer: former.sides[ada].decision}
    assert settle(ada, bob) == 1
    assert ada.states(bob) == ["replaced", "paired"]
    assert ada.in_use(bob) == bob.in_use(ada) == latter.th3
