"""How a device becomes trusted, is settled, listed, renamed and forgotten."""

import os
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from spacedrive_node.actors.base import Send
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.peer_protocol import (
    DecisionReceived,
    PairingDecision,
    Refused,
    decode_device_info,
    decode_wire,
)
from spacedrive_node.messages.to_gateway import (
    DeviceChanged,
    NodeIdentity,
    Readiness,
    StoredDevicesChanged,
    VaultError,
)
from spacedrive_node.messages.to_metrics import Observed
from spacedrive_node.messages.to_session import Signed, Stored, StoreRefused
from spacedrive_node.messages.to_swarm import PeerReply, SwarmIdentity
from spacedrive_node.messages.to_vault import (
    Accept,
    ConfirmDevice,
    ForgetDevice,
    PeerEvidence,
    RenameDevice,
    Settled,
    SettleRequest,
    SignIdentity,
)
from spacedrive_node.protocol.identity import make_info, signing_input, verify
from spacedrive_node.protocol.keys import fingerprint


def _stored(host: Any, pairing: Any) -> None:
    host.admit(pairing)
    assert host.request(pairing.sender, pairing.store()) == Stored(7, "unconfirmed")


def _changes(effects: Any) -> int:
    """How often the gateway is told that the devices are others."""
    return sum(send == Send("gateway", StoredDevicesChanged()) for send in effects.out)


def _in_use(host: Any) -> int:
    return sum(record.state != "replaced" for record in host.vault._store.all_records()[0])


def _left(host: Any, pairing: Any) -> None:
    """The session ends and leaves its record unconfirmed."""
    host.step("supervisor", SessionEnded(pairing.session, "joiner", "lost_contact"))


def _paired(host: Any, pairing: Any) -> None:
    _stored(host, pairing)
    assert host.request(pairing.sender, ConfirmDevice(8, pairing.th3)) == Stored(8, "paired")


def test_a_pairing_from_store_to_paired(host: Any, other: Any) -> None:
    """Stored as unconfirmed, then paired; listed once throughout; the peer is known from the first."""
    pairing = other.pairing()
    _stored(host, pairing)
    assert host.known == {other.peer: None}
    (device,) = host.devices()
    assert (device.state, device.device_id, device.name) == ("unconfirmed", other.device_id, "Other")
    assert device.fingerprint == fingerprint(pairing.secret)
    assert host.request(pairing.sender, ConfirmDevice(8, pairing.th3)) == Stored(8, "paired")
    assert host.known == {other.peer: None}
    assert [device.state for device in host.devices()] == ["paired"]


def test_what_is_acknowledged_is_stored_as_paired(host: Any, other: Any) -> None:
    """In one transaction: nothing is missing, so there is nothing to confirm."""
    pairing = other.pairing()
    host.admit(pairing)
    assert host.request(pairing.sender, pairing.store(acknowledged=True)) == Stored(7, "paired")
    assert host.known == {other.peer: None}
    (device,) = host.devices()
    assert (device.state, device.fingerprint) == ("paired", fingerprint(pairing.secret))
    _left(host, pairing)
    assert host.known == {other.peer: None}


def test_what_a_session_left_unconfirmed_is_settled(host: Any, other: Any) -> None:
    """While the session lives, delivering its decision is its own affair; then it is the swarm's, also
    after a restart of the whole node, which knows of no session.
    """
    pairing = other.pairing()
    _stored(host, pairing)
    host.restart()
    assert host.known == {other.peer: None}
    _left(host, pairing)
    assert host.known == {other.peer: pairing.decision}
    host.restart()
    assert host.known == {other.peer: pairing.decision}


def test_start_says_known_peers_first_then_identity(host: Any, other: Any) -> None:
    """The swarm must know every peer before it may answer `closed` to anyone."""
    _paired(host, other.pairing())
    sends = [send for send in host.restart().out if not isinstance(send.message, Observed)]
    assert [type(send.message).__name__ for send in sends] == [
        "KnownPeer",
        "SwarmIdentity",
        "NodeIdentity",
        "Readiness",
        "Readiness",
    ]
    assert isinstance(sends[1].message, SwarmIdentity)
    identity = sends[2].message
    assert isinstance(identity, NodeIdentity)
    assert identity.name == "Mine"
    assert isinstance(sends[3].message, Readiness)
    assert {send.to for send in sends[3:]} == {"gateway", "metrics"}


def _counted(effects: Any) -> dict[str, float] | None:
    """The numbers of devices by state, if they were reported."""
    for send in effects.out if effects is not None else ():
        if isinstance(send.message, Observed):
            assert send.to == "metrics"
            return {sample.labels[0]: sample.value for sample in send.message.samples}
    return None


def test_the_number_of_devices_is_reported(host: Any, new_device: Any) -> None:
    """As the list shows them: each device once, at the start, and at the next tick after a change."""
    assert _counted(host.restart()) == {"paired": 0, "unconfirmed": 0}
    assert _counted(host.tick()) is None
    one, two = new_device("One"), new_device("Two")
    _paired(host, one.pairing())
    assert _counted(host.tick()) == {"paired": 1, "unconfirmed": 0}
    _stored(host, one.pairing())  # once more: what is in use is what the list shows
    assert _counted(host.tick()) is None
    for _ in range(2):
        _stored(host, two.pairing())
    assert _counted(host.tick()) == {"paired": 1, "unconfirmed": 1} == _counted(host.restart())
    host.request("gateway", ForgetDevice(1, one.device_id))
    assert _counted(host.tick()) == {"paired": 0, "unconfirmed": 1}
    assert len(host.devices()) == 1


def test_identity_survives_a_restart_and_signs_what_verifies(host: Any, other: Any) -> None:
    """Same keys after a restart; the signature is the one that the other side checks."""
    first = host.vault._identity
    host.restart()
    keys = host.vault._identity
    assert (keys.public_key, keys.peer, keys.storage_key) == (first.public_key, first.peer, first.storage_key)
    signed = host.request("session-0123456789abcdef", SignIdentity(3, "joiner", b"t" * 32, b"n" * 32))
    assert isinstance(signed, Signed)
    info = verify(
        "joiner", b"t" * 32, keys.peer, signed.info, signed.signature,
        own_public_key=other.public_key, own_peer=other.peer,
    )  # fmt: skip
    assert (info.name, info.device_id, info.nonce) == ("Mine", keys.device_id, b"n" * 32)
    Ed25519PublicKey.from_public_bytes(keys.public_key).verify(
        signed.signature, signing_input("joiner", b"t" * 32, keys.peer, signed.info)
    )


def test_accepts_and_vouches_survive_a_restart_and_end_with_the_session(host: Any, other: Any) -> None:
    """They are the checkpoint; SessionEnded drops them."""
    pairing = other.pairing()
    host.admit(pairing)
    host.restart()
    assert host.request(pairing.sender, pairing.store()) == Stored(7, "unconfirmed")
    second = other.pairing()
    host.admit(second)
    host.step("supervisor", SessionEnded(second.session, "joiner", "cancelled"))
    host.restart()
    assert isinstance(host.request(second.sender, second.store()), StoreRefused)


def test_evidence_that_comes_after_the_end_of_its_session_counts_for_nothing(host: Any, other: Any) -> None:
    """Whoever sent it had not heard of the end. What the session has left is settled all the same."""
    pairing = other.pairing()
    _stored(host, pairing)
    _left(host, pairing)
    host.step("swarm", pairing.vouch())
    host.step("gateway", pairing.accept())
    host.restart()
    assert host.known == {other.peer: pairing.decision}


def test_what_is_not_admitted(host: Any, other: Any, new_device: Any) -> None:
    """Forged or missing Accept, evidence, signature, peer, key, transcript, frames: each alone is refused."""
    stranger = new_device()

    def refused(pairing: Any, **changes: Any) -> None:
        answer = host.request(pairing.sender, pairing.store(**changes))
        assert isinstance(answer, StoreRefused), changes
        assert host.devices() == ()
        assert host.known == {}

    unaccepted = other.pairing()
    host.step("swarm", unaccepted.vouch())
    refused(unaccepted)
    unvouched = other.pairing()
    host.step("gateway", unvouched.accept())
    host.step("swarm", PeerEvidence("f" * 16, other.peer))
    refused(unvouched)

    pairing = other.pairing()
    host.admit(pairing)
    host.step("swarm", PeerEvidence(pairing.session, stranger.peer))
    refused(pairing, signature=bytes(64))
    refused(pairing, th=b"x" * 32)
    refused(pairing, th3=b"x" * 32)
    refused(pairing, role="joiner")
    refused(pairing, peer=stranger.peer)
    refused(pairing, info=stranger.info)
    theirs = stranger.pairing()
    theirs.th2, theirs.th3 = pairing.th2, pairing.th3
    forged = theirs.store()
    refused(pairing, info=forged.info, signature=forged.signature, peer=stranger.peer)  # not whom he accepted
    refused(pairing, decision=pairing.peer_decision)
    refused(pairing, reply=pairing.decision)
    refused(pairing, decision=b"\x80")
    refused(pairing, decision=encode(PairingDecision(pairing.code_id, pairing.attempt, bytes(1000))))
    refused(pairing, reply=encode(DecisionReceived(b"z" * 16, pairing.attempt, bytes(32))))
    wrong_session = other.pairing()
    assert isinstance(host.request(wrong_session.sender, pairing.store()), StoreRefused)
    assert host.request(pairing.sender, pairing.store()) == Stored(7, "unconfirmed")


def test_only_the_transcript_that_was_signed_is_stored(host: Any, other: Any) -> None:
    """A session has the vault sign for one pairing, or for none, and stores another: refused, whatever it is.

    The other device and the user have agreed to all of it.
    """

    def refused(pairing: Any, *signed: SignIdentity, why: str = "sign") -> None:
        for message in signed:
            assert isinstance(host.request(pairing.sender, message), Signed)
        for message in (pairing.accept(), pairing.vouch()):
            host.step("gateway", message)
        host.restart()
        answer = host.request(pairing.sender, pairing.store())
        assert isinstance(answer, StoreRefused)
        assert why in answer.reason
        assert host.devices() == ()

    one, elsewhere = other.pairing(), other.pairing()
    refused(one)
    refused(one, SignIdentity(6, "joiner", os.urandom(32), b"n" * 32))
    refused(one, SignIdentity(6, "initiator", one.th1))
    refused(one, SignIdentity(6, "initiator", one.th2))
    refused(one, SignIdentity(6, "joiner", one.th2, b"n" * 32))
    refused(one, SignIdentity(6, "joiner", one.th3, b"n" * 32))
    refused(one, one.sign(), SignIdentity(6, "joiner", elsewhere.th1, b"n" * 32))
    host.request(elsewhere.sender, one.sign())  # another session's signature is no other's
    refused(one)
    mixed = other.pairing()
    mixed.decision, mixed.peer_decision, mixed.reply = one.decision, one.peer_decision, one.reply
    refused(mixed, mixed.sign(), why="different attempts")
    host.request(one.sender, one.sign())
    host.restart()
    assert host.request(one.sender, one.store()) == Stored(7, "unconfirmed")


def test_an_initiator_stores_what_it_has_signed(host: Any, other: Any) -> None:
    """There this side has signed th2, and the other one th1."""
    pairing = other.pairing()
    info = make_info(public_key=other.public_key, name="Other", os="linux", app_version="1", nonce=b"n" * 32)
    store = pairing.store(
        role="joiner",
        th=pairing.th1,
        info=info,
        signature=other.key.sign(signing_input("joiner", pairing.th1, other.peer, info)),
    )
    for message in (pairing.accept(), pairing.vouch()):
        host.step("gateway", message)
    for signed in (pairing.sign(), SignIdentity(6, "initiator", pairing.th1)):
        host.request(pairing.sender, signed)
        assert isinstance(host.request(pairing.sender, store), StoreRefused)
    host.request(pairing.sender, SignIdentity(6, "initiator", pairing.th2))
    wrong = msgspec.structs.replace(store, confirmation=other.pairing().confirmation)
    assert isinstance(host.request(pairing.sender, wrong), StoreRefused)
    assert host.request(pairing.sender, store) == Stored(7, "unconfirmed")


def test_the_first_accept_is_final(host: Any, other: Any, new_device: Any) -> None:
    """A session that shows a second device after the user accepted one gets neither confused nor replaced."""
    pairing = other.pairing()
    host.admit(pairing)
    host.step("gateway", Accept(pairing.session, new_device().public_key, b"q" * 32))
    assert host.request(pairing.sender, pairing.store()) == Stored(7, "unconfirmed")


def test_own_key_and_own_peer_are_refused(host: Any, new_device: Any) -> None:
    """A device can pair neither with itself nor with another that uses its transport identity."""
    keys = host.vault._identity
    mirror = new_device()
    mirror.key = keys._device
    mirror.public_key = keys.public_key
    mirror.__post_init__()
    pairing = mirror.pairing()
    host.admit(pairing)
    assert isinstance(host.request(pairing.sender, pairing.store()), StoreRefused)
    twin = new_device()
    twin.peer = keys.peer
    pairing = twin.pairing()
    host.admit(pairing)
    assert isinstance(host.request(pairing.sender, pairing.store()), StoreRefused)


def test_only_the_session_that_stored_confirms(host: Any, other: Any) -> None:
    """Another session that knows th3 does not."""
    pairing = other.pairing()
    _stored(host, pairing)
    assert isinstance(host.request("session-ffffffffffffffff", ConfirmDevice(1, pairing.th3)), StoreRefused)
    assert [device.state for device in host.devices()] == ["unconfirmed"]


def test_pairing_again_keeps_the_old_record_until_the_new_is_paired(host: Any, other: Any) -> None:
    """One entry in the list throughout: the old one, then the new one; the label stays."""
    old, new = other.pairing(), other.pairing()
    _paired(host, old)
    host.request("gateway", RenameDevice(1, other.device_id, "Kitchen"))
    _stored(host, new)
    (device,) = host.devices()
    assert (device.state, device.fingerprint) == ("paired", fingerprint(old.secret))
    assert host.known == {other.peer: None}
    assert host.request(new.sender, ConfirmDevice(1, new.th3)) == Stored(1, "paired")
    (device,) = host.devices()
    assert (device.state, device.fingerprint, device.name) == ("paired", fingerprint(new.secret), "Kitchen")
    assert _in_use(host) == 1


def test_a_refused_new_pairing_leaves_the_old_record(host: Any, other: Any) -> None:
    """`closed` drops the unconfirmed generation only."""
    old, new = other.pairing(), other.pairing()
    _paired(host, old)
    _stored(host, new)
    closed = encode(Refused(new.code_id, new.attempt, "closed"))
    host.step("swarm", Settled(other.peer, closed))
    (device,) = host.devices()
    assert (device.state, device.fingerprint) == ("paired", fingerprint(old.secret))
    assert host.known == {other.peer: None}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_pairings_at_once_leave_the_same_record_in_any_order(host: Any, other: Any, order: Any) -> None:
    """All stated the same clock; whatever the order, the greatest transcript stays, as on the other side."""
    pairings = sorted((other.pairing() for _ in range(3)), key=lambda pairing: pairing.th3)
    for pairing in pairings:
        host.request(pairing.sender, pairing.sign())
    for pairing in pairings:
        _stored(host, pairing)
    for number in order:
        pairing = pairings[number]
        assert host.request(pairing.sender, ConfirmDevice(1, pairing.th3)) == Stored(1, "paired")
    (device,) = host.devices()
    assert (device.state, device.fingerprint) == ("paired", fingerprint(pairings[2].secret))
    assert _in_use(host) == 1
    for pairing in pairings:  # a side that has not heard it yet gets its answer, whichever record stayed
        (answer,) = host.step("swarm", SettleRequest(9, other.peer, pairing.peer_decision)).out
        assert answer.message.frame == pairing.reply


def test_a_pairing_that_began_later_is_the_one_in_use_even_if_confirmed_first(host: Any, other: Any) -> None:
    """Its order is greater on both sides, because the clock that was stated for it is."""
    first, second = other.pairing(), other.pairing()
    _stored(host, first)
    _stored(host, second)
    for pairing in (second, first):
        host.request(pairing.sender, ConfirmDevice(1, pairing.th3))
    assert [device.fingerprint for device in host.devices()] == [fingerprint(second.secret)]


def test_the_peers_clock_counts_too(host: Any, new_device: Any) -> None:
    """What the other side has stored with others moves the order, so that it is the same there."""
    busy = new_device(version="1.0+41")
    _paired(host, busy.pairing())
    signed = host.request("session-0123456789abcdef", SignIdentity(3, "joiner", b"t" * 32, b"n" * 32))
    assert decode_device_info(signed.info).app_version == "0.1+42"


def test_forgetting_a_device_forgets_what_was_kept_of_replaced_pairings(host: Any, other: Any) -> None:
    """After it, a decision of a former pairing is answered `closed`."""
    former, latter = other.pairing(), other.pairing()
    _paired(host, former)
    _paired(host, latter)
    host.request("gateway", ForgetDevice(1, other.device_id))
    (answer,) = host.step("swarm", SettleRequest(9, other.peer, former.peer_decision)).out
    assert b"closed" in answer.message.frame


def test_a_new_transport_identity_replaces_the_old_peer(host: Any, other: Any, new_device: Any) -> None:
    """Same device key, other peer id: the old peer is forgotten once the new pairing is paired."""
    _paired(host, other.pairing())
    moved = new_device(key=other.key)
    pairing = moved.pairing()
    _stored(host, pairing)
    assert set(host.known) == {other.peer, moved.peer}
    host.request(pairing.sender, ConfirmDevice(1, pairing.th3))
    assert host.known == {moved.peer: None}


def test_settled_with_the_expected_mac_is_paired(host: Any, other: Any) -> None:
    """Only the mac that was stored, from that peer, for that attempt."""
    pairing = other.pairing()
    _stored(host, pairing)
    _left(host, pairing)
    wrong = encode(DecisionReceived(pairing.code_id, pairing.attempt, bytes(32)))
    elsewhere = encode(DecisionReceived(pairing.code_id, b"z" * 16, pairing.mac))
    for frame in (wrong, elsewhere, b"\xff", encode(Refused(pairing.code_id, pairing.attempt, "busy"))):
        assert _changes(host.step("swarm", Settled(other.peer, frame))) == 0
        assert host.known == {other.peer: pairing.decision}
    host.step("swarm", Settled(b"\x12\x20" + bytes(32), pairing.acknowledgement))
    assert [device.state for device in host.devices()] == ["unconfirmed"]
    assert _changes(host.step("swarm", Settled(other.peer, pairing.acknowledgement))) == 1
    assert [device.state for device in host.devices()] == ["paired"]
    assert host.known == {other.peer: None}
    assert host.request(pairing.sender, ConfirmDevice(8, pairing.th3)) == Stored(8, "paired")


def test_settled_closed_drops_the_unconfirmed_only(host: Any, other: Any) -> None:
    """A `closed` for another attempt changes nothing; for a paired record neither."""
    pairing = other.pairing()
    _stored(host, pairing)
    host.step("swarm", Settled(other.peer, encode(Refused(b"z" * 16, pairing.attempt, "closed"))))
    assert len(host.devices()) == 1
    closed = encode(Refused(pairing.code_id, pairing.attempt, "closed"))
    assert _changes(host.step("swarm", Settled(other.peer, closed))) == 1
    assert host.devices() == ()
    assert host.known == {}
    assert isinstance(host.request(pairing.sender, ConfirmDevice(8, pairing.th3)), StoreRefused)
    again = other.pairing()
    _paired(host, again)
    host.step("swarm", Settled(other.peer, encode(Refused(again.code_id, again.attempt, "closed"))))
    assert [device.state for device in host.devices()] == ["paired"]


def test_settle_request_is_answered_from_the_store(host: Any, other: Any) -> None:
    """The kept reply for the very frame of that peer, before and after it is paired; else `closed`.

    While this side is unconfirmed its own decision stays to be repeated: the peer may still wait for it.
    """
    pairing = other.pairing()
    _stored(host, pairing)
    _left(host, pairing)
    request = SettleRequest(5, other.peer, pairing.peer_decision)
    assert host.request("swarm", request) == PeerReply(5, pairing.reply)
    assert host.known == {other.peer: pairing.decision}
    assert [device.state for device in host.devices()] == ["unconfirmed"]
    host.step("swarm", Settled(other.peer, pairing.acknowledgement))
    assert host.request("swarm", request) == PeerReply(5, pairing.reply)
    for peer, frame in (
        (b"\x12\x20" + bytes(32), pairing.peer_decision),
        (other.peer, encode(PairingDecision(pairing.code_id, pairing.attempt, bytes(40)))),
    ):
        answer = host.request("swarm", SettleRequest(6, peer, frame))
        assert isinstance(answer, PeerReply)
        assert decode_wire(answer.frame) == Refused(pairing.code_id, pairing.attempt, "closed")
    assert host.step("swarm", SettleRequest(6, other.peer, b"\xff")).out == []


def test_replaced_records_end_after_seven_days(host: Any, other: Any, new_device: Any) -> None:
    """Also those whose peer is known by no other record; unconfirmed and paired ones stay."""
    _paired(host, other.pairing())
    moved = new_device(key=other.key)
    _paired(host, moved.pairing())
    _stored(host, new_device().pairing())
    host.wall += 7 * 24 * 3600 - 1
    host.now += 3600
    host.tick()
    assert host.vault._store.count() == 3
    host.wall += 2
    host.now += 3600
    assert host.tick() is not None
    assert [record.state for record in host.vault._store.all_records()[0]].count("replaced") == 0
    assert host.vault._store.count() == 2


def test_rename_and_forget(host: Any, other: Any) -> None:
    """Labels keep the rules for names; forgetting removes the record and tells the swarm."""
    _paired(host, other.pairing())
    assert host.request("gateway", RenameDevice(2, other.device_id, "Küche")) == DeviceChanged(2)
    wrong = {"a\u202eb": "U+202E", "\x00": "U+0000", " ": "blank", "x\u200d": "two emoji", "e\u0301": "form"}
    for bad, why in wrong.items():
        answer = host.request("gateway", RenameDevice(3, other.device_id, bad))
        assert isinstance(answer, VaultError)
        assert answer.code == "invalid_name"
        assert why in answer.message
    host.restart()
    assert [device.name for device in host.devices()] == ["Küche"]
    assert host.request("gateway", ForgetDevice(4, other.device_id)) == DeviceChanged(4)
    assert host.devices() == ()
    assert host.known == {}
    for message in (ForgetDevice(5, other.device_id), RenameDevice(5, other.device_id, "x")):
        answer = host.request("gateway", message)
        assert isinstance(answer, VaultError)
        assert answer.code == "no_such_device"


def test_pages_of_devices(host: Any, new_device: Any) -> None:
    """Sixty-four at a time, in order of id, each once, also with several generations."""
    from spacedrive_node.messages.to_vault import ListDevices

    devices = [new_device() for _ in range(70)]
    for device in devices:
        _stored(host, device.pairing())
    _stored(host, devices[0].pairing())
    first = host.request("gateway", ListDevices(1))
    second = host.request("gateway", ListDevices(2, first.devices[-1].device_id))
    assert (len(first.devices), first.more, len(second.devices), second.more) == (64, True, 6, False)
    ids = [device.device_id for device in first.devices + second.devices]
    assert ids == sorted(device.device_id for device in devices)


def test_records_are_bounded(host: Any, other: Any, new_device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unconfirmed generations of one device, and devices, beyond the bound are refused."""
    monkeypatch.setattr("spacedrive_node.actors.vault.machine.MAX_UNCONFIRMED_PER_DEVICE", 4)
    for _ in range(4):
        _stored(host, other.pairing())
    fifth = other.pairing()
    host.admit(fifth)
    assert isinstance(host.request(fifth.sender, fifth.store()), StoreRefused)
    monkeypatch.setattr("spacedrive_node.actors.vault.machine.MAX_RECORDS", 4)
    extra = new_device().pairing()
    host.admit(extra)
    assert isinstance(host.request(extra.sender, extra.store()), StoreRefused)


def test_the_first_step_fits_into_a_frame(host: Any, other: Any) -> None:
    """As many records as there may be, each with the longest decision to settle."""
    from spacedrive_node.actors.vault.device_record import MAX_DECISION_BYTES
    from spacedrive_node.actors.vault.device_store import MAX_RECORDS
    from spacedrive_node.messages.base import INTERNAL_LIMIT
    from spacedrive_node.messages.to_swarm import KnownPeer

    known = encode(KnownPeer(other.peer, bytes(MAX_DECISION_BYTES)))
    envelope = len(known) + len(other.peer) + 100
    assert MAX_RECORDS * envelope < INTERNAL_LIMIT


def test_vouches_and_sessions_are_bounded(host: Any, new_device: Any) -> None:
    """The checkpoint stays far below the limit of a frame, and the latest are kept."""
    from spacedrive_node.actors.vault import session_evidence

    table = session_evidence.SessionEvidence()
    for number in range(session_evidence.MAX_SESSIONS + 5):
        session = f"{number:016x}"
        table.record_acceptance(session, bytes(32), bytes(32))
        table.version_to_sign(session, "v" * 32, 2**40)
        table.record_signed(session, "initiator", bytes(32))
        for peer in range(session_evidence.MAX_PEERS_PER_SESSION + 1):
            table.record_peer(session, bytes([peer]) * 38)
    assert len(table.checkpoint()) < 930_000
    assert table.acceptance(f"{0:016x}") is None
    last = f"{session_evidence.MAX_SESSIONS + 4:016x}"
    assert session_evidence.SessionEvidence(table.checkpoint()).has_peer(
        last, bytes([session_evidence.MAX_PEERS_PER_SESSION]) * 38
    )
    assert not table.has_peer(last, bytes([0]) * 38)


def test_replaced_records_make_room_for_a_new_device(
    host: Any, other: Any, new_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept to be answered for, and are the first to go when the store is full."""
    for _ in range(3):
        _paired(host, other.pairing())
    monkeypatch.setattr("spacedrive_node.actors.vault.machine.MAX_RECORDS", 3)
    _paired(host, new_device().pairing())
    assert [record.state for record in host.vault._store.all_records()[0]].count("paired") == 2
    assert host.vault._store.count() == 3
