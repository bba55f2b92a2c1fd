"""`--offline`: every process of a node, at any time, has no socket but loopback and Unix ones."""

import ipaddress
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from spacedrive_node.config.extras import has_webrtc
from spacedrive_node.config.settings import NodeConfig
from spacedrive_node.node import NodeFailedError, serve
from spacedrive_node.supervisor.process_spawner import ProcessSpawner
from spacedrive_node.tests.harness.node_commands import DEADLINE, SDNODE, UpCommand, sdnode_pair, sdnode_up
from spacedrive_node.tests.harness.websocket_hosts import make_certificate

PEER = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
INTERNET_TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6")
OTHER_TABLES = ("raw", "raw6", "icmp", "icmp6", "packet", "netlink")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes, and pytest's own folders come near that."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as folder:
        yield Path(folder)


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def socket_inodes(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # it has ended meanwhile
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def rows(pid: int, table: str) -> list[list[str]]:
    try:
        return [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    except OSError:
        return []


def host_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address of /proc/net/tcp: 32-bit words in the byte order of the host."""
    digits = text.partition(":")[0]
    words = [bytes.fromhex(digits[place : place + 8])[::-1] for place in range(0, len(digits), 8)]
    return ipaddress.ip_address(b"".join(words))


def foreign_sockets(pid: int) -> list[str]:
    """Return the sockets of one process that are neither Unix ones nor loopback's at both ends."""
    inodes = socket_inodes(pid)
    found = []
    for table in INTERNET_TABLES:
        for row in rows(pid, table):
            if row[9] not in inodes:
                continue
            local, remote = host_of(row[1]), host_of(row[2])
            if not (local.is_loopback and (remote.is_loopback or remote.is_unspecified)):
                found.append(f"{table} {local} {remote}")
    columns = {"packet": 8, "netlink": 9}
    for table in OTHER_TABLES:
        place = columns.get(table, 9)
        found += [table for row in rows(pid, table) if len(row) > place and row[place] in inodes]
    return found


class Watch:
    """Looks at the sockets of some nodes, again and again, until it is left."""

    def __init__(self, *nodes: UpCommand) -> None:
        self.foreign: set[tuple[int, str]] = set()
        self.rounds = 0
        self.internet = 0
        self._pids = [node.process.pid for node in nodes]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def look(self) -> None:
        for root in self._pids:
            for pid in tree(root):
                self.foreign.update((pid, what) for what in foreign_sockets(pid))
                inodes = socket_inodes(pid)
                there = [row for table in INTERNET_TABLES for row in rows(pid, table)]
                self.internet += sum(row[9] in inodes for row in there)
        self.rounds += 1

    def _run(self) -> None:
        while not self._over.is_set():
            self.look()

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def wait_for_rounds(self, number: int) -> None:
        """Wait until it has looked so often: on a slow machine that takes longer than a pairing."""
        deadline = time.monotonic() + DEADLINE
        while self.rounds < number:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()


def test_no_process_has_another_socket(tmp_path: Path) -> None:
    """Not while two nodes of one host pair by words either; they announce loopback and nothing else."""
    with (
        sdnode_up(tmp_path, "anna", "--offline", listen=None) as a,
        sdnode_up(tmp_path, "bruno", "--offline", listen=None) as b,
        Watch(a, b) as watch,
    ):
        for node in (a, b):
            parts = [address.split("/") for address in node.ready["addresses"]]
            kinds = [(part[2], part[3]) for part in parts]
            assert kinds == [(host, kind) for kind in ("tcp", "udp") for host in ("127.0.0.1", "::1")]
            assert len({part[4] for part in parts}) == 1
            status = node.run("status")[0]
            assert status["reachability"] == "this host"
            assert (status["offline"], status["mdns"]["state"]) == (True, "off")
            assert {kind: len(found) for kind, found in status["listening"].items()} == {"tcp": 2, "quic": 2}
            assert status["who_can_pair"] == "Only nodes on this host can pair with this one: it is offline."
        with sdnode_pair(a) as (words, shown):
            assert b.run("join", "-", stdin=f"{words}\ny\n")[-1]["event"] == "paired"
            assert shown.wait(DEADLINE) == 0
        watch.wait_for_rounds(3)
    assert not watch.foreign
    assert watch.internet > 0  # loopback's were seen, so others would have been


LISTENERS = {
    "ws, quic": ("/ip4/127.0.0.1/tcp/0/ws", "/ip6/::1/tcp/0/ws", "/ip4/127.0.0.1/udp/0/quic-v1"),
    "ws alone": ("/ip4/127.0.0.1/tcp/0/ws",),
    "wss, tcp, quic": (
        "/ip4/127.0.0.1/tcp/0/tls/ws",
        "/ip4/127.0.0.1/tcp/0",
        "/ip6/::1/udp/0/quic-v1",
        "/ip4/127.0.0.1/udp/0/quic-v1",
    ),
    "webrtc, ws, quic": (
        "/ip4/127.0.0.1/udp/0/webrtc-direct",
        "/ip6/::1/tcp/0/ws",
        "/ip4/127.0.0.1/udp/0/quic-v1",
    ),
}


@pytest.mark.parametrize("listeners", [one for one in LISTENERS if "webrtc" not in one or has_webrtc()])
def test_no_process_has_another_socket_with_other_listeners(tmp_path: Path, listeners: str) -> None:
    """Two nodes with the same, which pair; each dials what the other has."""
    flags = [flag for address in LISTENERS[listeners] for flag in ("--listen", address)]
    if "wss" in listeners:
        made = make_certificate(tmp_path, ["127.0.0.1"])
        for flag, file in (("certificate", made.certificate), ("key", made.key), ("ca", made.ca)):
            flags += [f"--tls-{flag}", str(file)]
    with (
        sdnode_up(tmp_path, "anna", "--offline", *flags, listen=None) as a,
        sdnode_up(tmp_path, "bruno", "--offline", *flags, listen=None) as b,
        Watch(a, b) as watch,
    ):
        assert len(a.ready["addresses"]) == len(LISTENERS[listeners])
        with sdnode_pair(a) as (words, shown):
            paired = b.run("join", "-", stdin=f"{words}\ny\n")[-1]
            assert paired["event"] == "paired"
            assert str(paired["transport"]) in listeners
            assert shown.wait(DEADLINE) == 0
        watch.wait_for_rounds(3)
    assert not watch.foreign
    assert watch.internet > 0


def test_the_check_finds_other_sockets(tmp_path: Path) -> None:
    """A node that is not offline has some, and so has a process that is given one of each kind."""
    with sdnode_up(tmp_path, "anna", listen="/ip4/0.0.0.0/tcp/0") as a:
        watch = Watch(a)
        watch.look()
        assert {what for _pid, what in watch.foreign} == {"tcp 0.0.0.0 0.0.0.0", "netlink"}
    own = os.getpid()
    before = foreign_sockets(own)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams, socket.socket(16, 3, 0) as netlink:
        datagrams.bind(("::", 0))
        netlink.bind((0, 0))
        assert sorted(set(foreign_sockets(own)) - set(before)) == ["netlink", "udp6 :: ::"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--bootstrap", f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}"), "bootstrap"),
        (("--announce", "/ip4/127.0.0.1/tcp/1"), "announce"),
        (("--listen", "/ip4/0.0.0.0/tcp/0"), "listen"),
        (("--listen", "/ip6/::1/tcp/0", "--listen", "/ip4/10.0.0.1/tcp/0"), "listen"),
        (("--listen", "/ip4/0.0.0.0/tcp/0/ws"), "listen"),
        (("--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip6/::/udp/0/quic-v1"), "listen"),
        (("--metrics-listen", "0.0.0.0:0"), "metrics-listen"),
    ],
)
def test_what_contradicts_it_is_refused(tmp_path: Path, flags: tuple[str, ...], named: str) -> None:
    """In one sentence that names both, before anything is made; from a file and a variable as well."""
    command = [*SDNODE, "up", "--data-dir", str(tmp_path / "data"), *flags]
    (tmp_path / "node.toml").write_text("offline = true\n")
    for more, variables in (
        (["--offline"], {}),
        (["--config", str(tmp_path / "node.toml")], {}),
        ([], {"SDNODE_OFFLINE": "1"}),
    ):
        done = subprocess.run(
            [*command, *more],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), **variables},
        )
        assert done.returncode == 2
        assert f"--offline and --{named} exclude each other: a node that is offline" in done.stderr
        assert not (tmp_path / "data").exists()


async def test_a_program_is_told_as_well() -> None:
    """`open_node` and whoever builds a NodeConfig by hand."""
    config = NodeConfig(offline=True, announce=("/ip4/192.0.2.1/tcp/1",))
    with pytest.raises(NodeFailedError, match="--offline and --announce exclude each other"):
        await serve(config, spawner=ProcessSpawner(), stop=None, ready=None, log=None)  # type: ignore[arg-type]


def test_what_it_listens_on_is_told(tmp_path: Path) -> None:
    """`--check-config` shows loopback as the default."""
    command = [*SDNODE, "up", "--offline", "--check-config", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
    hosts, forms = ("/ip4/127.0.0.1", "/ip6/::1"), ("/tcp/7520", "/udp/7520/quic-v1")
    listen = [host + form for form in forms for host in hosts]
    assert f"# listen = {json.dumps(listen)}" in done.stdout
