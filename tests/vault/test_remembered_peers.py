"""The memory of peers over restarts of the vault, and everything that may befall its file."""

import os
import signal
import sqlite3
import stat
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from spacedrive_node.messages.base import Message
from spacedrive_node.messages.to_swarm import RecalledPeers
from spacedrive_node.messages.to_vault import ForgetDevice, PeerReport, PeersBehaved, RecallPeers
from spacedrive_node.messages.types import RememberedKind
from spacedrive_node.tests.harness.small_disk import fill, small_disk
from spacedrive_node.tests.harness.vault_actor import OtherDevice, VaultHost

DHT = "/spacedrive/kad/1.0.0"
DAY_S = 86_400


def peer(number: int) -> bytes:
    return b"\x12\x20" + number.to_bytes(32, "big")


def answered(*numbers: int, kind: RememberedKind = "server") -> PeersBehaved:
    reports = [
        PeerReport(kind, peer(number), (f"/ip4/45.{number}.1.1/tcp/7520",), answered=1) for number in numbers
    ]
    return PeersBehaved(DHT, tuple(reports))


def at(device: OtherDevice) -> PeersBehaved:
    return PeersBehaved(DHT, (PeerReport("device", device.peer, ("/ip4/10.0.0.7/tcp/1",), answered=1),))


def recalled(host: VaultHost) -> set[bytes]:
    messages = [send.message for send in host.step("swarm", RecallPeers(DHT)).out]
    assert messages
    found: set[bytes] = set()
    for message in messages:
        assert isinstance(message, RecalledPeers)
        found |= {one.peer for one in message.peers}
    return found


def report(host: VaultHost, message: Message) -> list[str]:
    """Return the lines for the log."""
    effects = host.step("swarm", message)
    assert not effects.out
    assert effects.checkpoint is None
    return [log.event for log in effects.logs]


def file_of(host: VaultHost) -> Path:
    return host.data_dir / "peers.db"


def test_what_was_of_use_is_known_after_a_restart(host: VaultHost) -> None:
    assert recalled(host) == set()
    report(host, answered(1, 2))
    host.restart()
    assert recalled(host) == {peer(1), peer(2)}
    assert stat.S_IMODE(file_of(host).stat().st_mode) == 0o600


def test_a_node_that_has_reached_nobody_has_no_file(host: VaultHost) -> None:
    assert recalled(host) == set()
    assert not file_of(host).exists()


def test_devices_are_remembered_only_while_they_are_trusted(host: VaultHost) -> None:
    """And nothing of a forgotten one is left in the file."""
    pairing = (device := OtherDevice()).pairing()
    report(host, at(device))
    assert recalled(host) == set()  # anybody's
    host.admit(pairing)
    host.step(pairing.sender, pairing.store())
    report(host, at(device))
    assert recalled(host) == {device.peer}
    host.restart()
    assert recalled(host) == {device.peer}
    assert device.peer in file_of(host).read_bytes()
    host.step("gateway", ForgetDevice(1, device.device_id))
    assert recalled(host) == set()
    for file in host.data_dir.glob("peers.db*"):
        assert device.peer not in file.read_bytes(), file


def test_a_device_that_was_forgotten_at_a_kill_is_gone_after_it(host: VaultHost) -> None:
    """The vault is killed between the commit in its store and the write of its memory."""
    pairing = (device := OtherDevice()).pairing()
    host.admit(pairing)
    host.step(pairing.sender, pairing.store())
    report(host, at(device))
    host.close()

    def crash(point: str) -> None:
        if point.startswith("before peers: DELETE"):
            raise KilledError

    host.open(crash)
    with pytest.raises(KilledError):
        host.step("gateway", ForgetDevice(1, device.device_id))
    host.restart()
    assert recalled(host) == set()
    assert device.peer not in file_of(host).read_bytes()


def test_nothing_tells_when_or_in_which_order_peers_became_known(host: VaultHost) -> None:
    """The file has the day, and its rows stand in the order of peer ids."""
    report(host, answered(2))
    report(host, answered(3, 1))
    with sqlite3.connect(file_of(host)) as connection:
        rows = connection.execute("SELECT * FROM peers").fetchall()
        columns = [column[1] for column in connection.execute("PRAGMA table_info(peers)")]
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("SELECT rowid FROM peers")
    assert columns == ["kind", "protocol", "peer", "addresses", "score", "day"]
    assert tables == ["peers"]
    assert [row[2] for row in rows] == [peer(1), peer(2), peer(3)]
    assert {row[5] for row in rows} == {int(host.wall) // DAY_S}


class KilledError(Exception):
    """The process was killed here."""


def dies_at(number: int) -> Callable[[str], None]:
    """Return a probe that kills this process at such a point."""
    left = number

    def probe(point: str) -> None:
        nonlocal left
        if "peers: " in point:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return probe


@pytest.mark.parametrize("known", [(), (1, 2)], ids=["a new file", "a file with peers"])
def test_a_kill_at_every_statement(host: VaultHost, known: tuple[int, ...]) -> None:
    """SIGKILL: the vault starts again, knows what was reported before, perhaps a part of what was last."""

    def story() -> None:
        report(host, answered(3, 4))
        report(host, PeersBehaved(DHT, (*answered(5).reports, PeerReport("server", peer(4), lied=1))))
        report(host, answered(6))

    host.close()
    before = {peer(number) for number in known}
    for number in count():
        host.open()
        if known:
            report(host, answered(*known))
        host.close()
        child = os.fork()
        if child == 0:
            try:
                host.open(dies_at(number))
                story()
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        host.open()
        assert before <= recalled(host) <= before | {peer(one) for one in range(3, 7)}
        assert report(host, answered(7)) == []
        host.restart()
        assert peer(7) in recalled(host)
        assert [file.name for file in host.data_dir.glob("peers.db*")] == ["peers.db"]
        host.close()
        file_of(host).unlink()
        if status != signal.SIGKILL:
            break
    assert number >= 20


def test_a_swarm_that_was_taken_over_fills_its_bounds_and_no_more(host: VaultHost) -> None:
    """It invents a thousand peers in every message; the file stays small, and reading it short."""
    report(host, answered(1, 2))
    for batch in range(64):
        invented = range(1000 + batch * 64, 1000 + (batch + 1) * 64)
        report(
            host,
            PeersBehaved(
                DHT,
                tuple(
                    PeerReport(
                        ("server", "relay", "device")[one % 3],
                        peer(one),
                        tuple(f"/dns4/{'x' * 200}{port}.org/tcp/1" for port in range(8))
                        if one % 2
                        else (f"/ip4/{one % 223 + 1}.{one % 251}.1.1/tcp/1",),
                        answered=1000,
                    )
                    for one in invented
                ),
            ),
        )
    host.restart()
    assert len(recalled(host)) <= 256 + 32  # no device: none of them is trusted
    assert file_of(host).stat().st_size < 1 << 20
    with sqlite3.connect(file_of(host)) as connection:
        assert connection.execute("SELECT count(*) FROM peers").fetchone()[0] <= 256 + 32


@pytest.mark.parametrize(
    "damage",
    ["garbage", "empty", "cut off", "other table", "no table", "newer", "wrong rows", "a flipped page"],
)
def test_a_damaged_file_is_replaced_and_harms_nothing(host: VaultHost, damage: str) -> None:
    pairing = OtherDevice().pairing()
    host.admit(pairing)
    host.step(pairing.sender, pairing.store())
    report(host, answered(*range(1, 60)))
    host.close()
    file = file_of(host)
    content = file.read_bytes()
    match damage:
        case "garbage":
            file.write_bytes(os.urandom(8192))
        case "empty":
            file.write_bytes(b"")
        case "cut off":
            file.write_bytes(content[: len(content) // 2])
        case "a flipped page":
            file.write_bytes(content[:4096] + bytes(len(content) - 4096))
        case _:
            sql = {
                "other table": "DROP TABLE peers; CREATE TABLE peers (a TEXT)",
                "no table": "DROP TABLE peers",
                "newer": "PRAGMA user_version = 7",
                "wrong rows": "UPDATE peers SET addresses = x'c1', peer = CAST(x'00' || peer AS BLOB)",
            }[damage]
            with sqlite3.connect(file) as connection:
                connection.executescript(sql)
            connection.close()
    host.open()
    assert recalled(host) == set()
    assert len(host.devices()) == 1
    report(host, answered(70))
    assert recalled(host) == {peer(70)}
    host.restart()
    assert recalled(host) == {peer(70)}


def test_a_file_that_is_removed_while_the_vault_runs_is_written_again(host: VaultHost) -> None:
    report(host, answered(1))
    file_of(host).unlink()
    report(host, answered(2))
    host.restart()
    assert recalled(host) == {peer(1), peer(2)}


@pytest.mark.parametrize("instead", ["a link", "others may read", "a directory"])
def test_a_file_that_others_have_put_there_is_not_used(host: VaultHost, instead: str, tmp_path: Path) -> None:
    report(host, answered(1))
    host.close()
    elsewhere = tmp_path / "elsewhere"
    file_of(host).rename(elsewhere)
    match instead:
        case "a link":
            file_of(host).symlink_to(elsewhere)
        case "others may read":
            file_of(host).write_bytes(elsewhere.read_bytes())
            file_of(host).chmod(0o644)
        case _:
            file_of(host).mkdir()
    before = elsewhere.read_bytes()
    host.open()
    assert report(host, answered()) == ["memory of peers cannot be used"]
    assert recalled(host) == set()
    report(host, answered(2))
    assert recalled(host) == {peer(2)}  # as long as this process runs
    assert elsewhere.read_bytes() == before


def test_a_clock_that_jumps(host: VaultHost) -> None:
    """A year ahead and back again, and to before 1970: nothing is lost, and nothing lasts for ever."""
    report(host, answered(1))
    host.wall += 365 * DAY_S
    report(host, answered(2))
    assert recalled(host) == {peer(1), peer(2)}
    host.wall -= 365 * DAY_S
    host.restart()
    assert recalled(host) == {peer(1), peer(2)}
    host.wall = -5.0
    report(host, answered(3))
    host.restart()
    assert recalled(host) == {peer(1), peer(2), peer(3)}


def test_a_full_disk(tmp_path: Path) -> None:
    """The memory is this process's as long as that lasts, and is written when there is room."""
    with small_disk(tmp_path / "disk", kib=512) as disk:
        host = VaultHost(disk / "node")
        host.open()
        try:
            report(host, answered(1))
            filler = fill(disk)
            assert report(host, answered(*range(2, 60))) == ["memory of peers cannot be used"]
            assert report(host, answered(60)) == []  # said once
            assert len(recalled(host)) == 60
            filler.unlink()
            report(host, answered(61))
            host.restart()
            assert len(recalled(host)) == 61
        finally:
            host.close()
