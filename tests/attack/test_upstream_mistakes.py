"""Mistakes that programs which pair devices have made; docs/security.md lists those that others prove."""

import os
import sqlite3
from pathlib import Path

import msgspec
import pytest
import trio

from spacedrive_node.client.errors import ControlError
from spacedrive_node.messages.child_protocol import Outgoing, Step
from spacedrive_node.messages.control_protocol import CancelPairing, Decide, Done
from spacedrive_node.messages.peer_protocol import ChallengeResponse, decode_wire
from spacedrive_node.messages.to_session import PeerAnswer
from spacedrive_node.protocol import keys
from spacedrive_node.supervisor.ledger import Ledger
from spacedrive_node.tests.harness import session_simulation as sessions
from spacedrive_node.tests.harness import vault_actor as vaults
from spacedrive_node.tests.harness.nodes import DEADLINE, pair, running_node
from spacedrive_node.tests.harness.peer_device import code_keys_of, open_device


def test_a_joiner_asks_candidates_only_and_takes_only_their_answers() -> None:
    """A joiner that asks whoever is connected, and takes an answer from anybody."""
    made = sessions.pair()
    stranger = made.simulation.node("stranger")
    made.joiner.swarm.connected.add(stranger.peer)
    made.joiner.join(made.initiator.start())
    made.simulation.run(limit=5.0)
    assert made.joiner.swarm.seen == []
    made.joiner.find(made.initiator)
    made.simulation.run(lambda: bool(made.joiner.swarm.asks), 5.0)
    (ask,) = made.joiner.swarm.asks
    for frame in (ask.message.frame, b"garbage"):
        made.joiner.deliver("swarm", PeerAnswer(ask.message.request + 1, frame, "direct"))
    assert made.joiner.view.confirmation is None
    assert not any(kind == ChallengeResponse.__name__ for kind, _frame in made.joiner.swarm.seen)
    made.run()
    assert made.outcomes == ("paired", "paired")


def test_connection_keys_hang_on_the_secret_and_on_the_direction() -> None:
    """Session keys without a secret input, or equal in both directions."""
    one, other = keys.connection_keys(b"s" * 32, b"i" * 32, b"j" * 32)
    assert one != other
    assert {one, other}.isdisjoint(keys.connection_keys(b"S" * 32, b"i" * 32, b"j" * 32))
    assert {one, other}.isdisjoint(keys.connection_keys(b"s" * 32, b"j" * 32, b"i" * 32))


async def test_each_side_records_the_other_device(tmp_path: Path) -> None:
    """The remote device recorded as a copy of the local one."""
    async with running_node(tmp_path, "anna") as anna:
        async with running_node(tmp_path, "bruno", bootstrap=(anna.bootstrap,)) as bruno:
            await pair(anna, bruno)
            (at_anna,), (at_bruno,) = await anna.client.devices(), await bruno.client.devices()
        assert (at_anna.peer, at_anna.name) == (bruno.ready.peer, "bruno")
        assert (at_bruno.peer, at_bruno.name) == (anna.ready.peer, "anna")
        assert at_anna.public_key != at_bruno.public_key
        assert at_anna.device_id != at_bruno.device_id


def test_the_transport_key_is_random(tmp_path: Path) -> None:
    """A transport key that can be computed from public data: the name, the device id, the device key."""
    seen = []
    for folder in ("one", "two"):
        host = vaults.VaultHost(tmp_path / folder)
        host.open()
        own = host.vault._identity
        public = (own.public_key, own.device_id.ljust(32, b"\0"), keys.sha256(own.public_key))
        assert own.transport_seed not in public
        seen.append((own.transport_seed, own.peer, own.public_key))
        host.close()
    assert all(first != second for first, second in zip(*seen, strict=True))


def test_expiry_does_not_begin_again() -> None:
    """A code's life that begins again when it is read, entered, asked about or restored."""
    made = sessions.pair()
    code = made.initiator.start(60.0)
    made.initiator.rebuild_always = True
    stranger = made.simulation.node("stranger")
    began = made.simulation.now
    made.simulation.run(limit=50.0)
    stranger.join(code)
    made.initiator.start(60.0)
    made.simulation.run(lambda: made.initiator.ended, 100.0)
    assert made.initiator.outcome == "expired"
    assert made.simulation.now - began == pytest.approx(60.0, abs=0.5)


async def test_an_unknown_session_is_not_made(tmp_path: Path) -> None:
    """An unknown session id, from a client or within the node, that makes a session."""
    async with running_node(tmp_path, "anna") as anna:
        connection = anna.client._connection
        for make in (
            lambda id: Decide(id, os.urandom(16), "ab" * 8, True),
            lambda id: CancelPairing(id, os.urandom(16), "ab" * 8),
        ):
            with trio.fail_after(DEADLINE), pytest.raises(ControlError) as error:
                await connection.call(Done, make)
            assert error.value.code == "no_such_session"
        assert await anna.client.sessions() == []
    ledger = Ledger(max_sessions=4, new_id=lambda: bytes(16))
    senders = {
        "Decide": "gateway",
        "CancelPairing": "gateway",
        "PeerRequest": "swarm",
        "CandidateFound": "discovery",
    }
    for name in set(senders.values()):
        ledger.add_actor(name, stepping=False)
        ledger.begin_incarnation(name, msgspec.Raw(b"\x80"))
        ledger.mark_ready(name)
    for kind, sender in senders.items():
        ledger.apply_step(
            sender, Step(0, (Outgoing("session-" + "ab" * 8, kind, bytes(16), msgspec.Raw(b"\x80")),))
        )
        assert ledger.role("session-" + "ab" * 8) is None


def test_devices_that_cannot_be_read_are_not_lost(tmp_path: Path) -> None:
    """Devices left out when the list is loaded, and gone for good when it is saved the next time."""
    host = vaults.VaultHost(tmp_path / "data")
    host.open()
    for name in ("One", "Two"):
        pairing = vaults.OtherDevice(name).pairing()
        host.admit(pairing)
        host.request(pairing.sender, pairing.store())
    path = host.data_dir / "devices.db"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE devices SET name = 'Mallory' WHERE name = 'One'")
    connection.close()
    host.restart()
    assert [device.name for device in host.devices()] == ["Two"]
    third = vaults.OtherDevice("Three").pairing()
    host.admit(third)
    host.request(third.sender, third.store())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE devices SET name = 'One' WHERE name = 'Mallory'")
    connection.close()
    host.restart()
    assert {device.name for device in host.devices()} == {"One", "Two", "Three"}
    host.close()


async def test_no_secret_of_a_session_is_on_disk(tmp_path: Path) -> None:
    """Sessions written to disk in the clear with their secret: before, while and after a device is stored."""
    async with running_node(tmp_path, "anna") as anna, open_device() as other:
        with trio.fail_after(DEADLINE):
            showing = await anna.client.start_pairing()
            words = showing.code.words
            code_keys = code_keys_of(words)
            run = await other.prove(anna, code_keys)
            proven = other.finish(run)
            secrets = [
                " ".join(words).encode(),
                "-".join(words).encode(),
                code_keys.auth_key,
                code_keys.route_key,
                proven.pairing_secret,
                proven.own_decision_key,
            ]
            await showing.confirmation()
            _expect_absent(tmp_path, secrets)
            await showing.accept()
            assert decode_wire(await other.exchange(anna, proven.decision_frame(True)) or b"")
            await showing.paired()
            _expect_absent(tmp_path, secrets)


def _expect_absent(folder: Path, secrets: list[bytes]) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not any(secret in content or secret.hex().encode() in content for secret in secrets)
