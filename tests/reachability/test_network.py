"""Whole nodes behind real NATs say truly from where they can be reached, and serve the DHT accordingly.

Three servers with public addresses in different blocks, which know of each other, and one node more.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.tests.harness import nat_lab
from spacedrive_node.tests.harness.nat_lab import LabHost, NatKind, NatLab, open_lab
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up

LISTEN = ("--listen", "/ip4/0.0.0.0/udp/7520/quic-v1")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one, for the paths of sockets."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as folder:
        yield Path(folder)


@pytest.fixture
def lab() -> Iterator[NatLab]:
    if problem := nat_lab.missing():
        pytest.skip(problem)
    with open_lab() as made:
        yield made


@contextmanager
def node(folder: Path, name: str, host: LabHost, *flags: str) -> Iterator[UpCommand]:
    place = folder / name
    place.mkdir(mode=0o700)
    flags = (*LISTEN, "--no-same-host", "--log-format", "json", *flags)
    with sdnode_up(place, name, *flags, command=host.command, listen="/ip4/0.0.0.0/tcp/7520") as up:
        yield up


def knowing(servers: Sequence[UpCommand]) -> tuple[str, ...]:
    return tuple(
        flag for one in servers for address in one.ready["dial"] for flag in ("--bootstrap", address)
    )


@contextmanager
def three_servers(folder: Path, lab: NatLab) -> Iterator[list[UpCommand]]:
    with ExitStack() as stack:
        servers: list[UpCommand] = []
        for name in ("one", "two", "three"):
            flags = ("--dht-mode", "server", *knowing(servers))
            servers.append(stack.enter_context(node(folder, name, lab.public(), *flags)))
        yield servers


def until(up: UpCommand, **wanted: Any) -> dict[str, Any]:
    """Ask for the status until it is as wanted; return it."""
    deadline = time.monotonic() + DEADLINE
    while True:
        (found,) = up.run("status")
        shown = {**found, **{f"dht_{key}": value for key, value in dict(found["dht"]).items()}}  # type: ignore[call-overload]
        if all(shown[key] == value for key, value in wanted.items()):
            return shown
        assert time.monotonic() < deadline, (shown, up.log())


def checked(up: UpCommand, host: LabHost) -> dict[str, int]:
    """What the node's metrics say about its checks."""
    script = f"import urllib.request as u; print(u.urlopen('http://{up.ready['metrics']}/metrics').read().decode())"
    done = subprocess.run(
        [*host.command, "python3", "-c", script], capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("spacedrive_node_reachability_checks_total{"):
            found[line.partition('outcome="')[2].partition('"')[0]] = int(float(line.rpartition(" ")[2]))
    return found


def until_checked(up: UpCommand, host: LabHost, outcome: str, count: int) -> dict[str, int]:
    deadline = time.monotonic() + DEADLINE
    while (found := checked(up, host)).get(outcome, 0) < count:
        assert time.monotonic() < deadline, (found, up.run("status"), up.log())
    return found


def test_a_public_node_is_found_reachable_and_serves_the_dht(tmp_path: Path, lab: NatLab) -> None:
    """Its three servers have dialled it back; before that it is a client, which nobody's table has."""
    with three_servers(tmp_path, lab) as servers:
        host = lab.public()
        with node(tmp_path, "new", host, *knowing(servers)) as up:
            found = until(up, reachability="public", dht_mode="server")
            assert until_checked(up, host, "reached", 3)["unreached"] == 0
            assert found["addresses"] == [
                f"/ip4/{host.address}/tcp/7520",
                f"/ip4/{host.address}/udp/7520/quic-v1",
            ]
            for server in servers:
                until(server, dht_peers=3, reachability="public")


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("cone", "punchable"),
        ("restricted", "punchable"),
        ("fullcone", "punchable"),
        ("symmetric", "symmetric"),
    ],
)
def test_a_node_behind_a_nat_says_what_follows(
    tmp_path: Path, lab: NatLab, kind: NatKind, state: str
) -> None:
    """Three dials fail. None comes through a hole that the node's own packets have made."""
    with three_servers(tmp_path, lab) as servers:
        host = lab.home(kind).host()
        with node(tmp_path, "new", host, *knowing(servers)) as up:
            until(up, reachability=state, dht_mode="client")
            found = until_checked(up, host, "unreached", 3)
            assert (found["reached"], found["unsolicited"], found["lied"]) == (0, 0, 0)
            until(up, reachability=state, dht_mode="client")
            for server in servers:
                until(server, dht_peers=2)


def test_a_port_that_was_forwarded_by_hand_is_found_and_announced(tmp_path: Path, lab: NatLab) -> None:
    with three_servers(tmp_path, lab) as servers:
        home = lab.home("symmetric")
        host = home.host()
        home.forward("tcp", 7520, host, 7520)
        with node(tmp_path, "new", host, *knowing(servers)) as up:
            found = until(up, reachability="public", dht_mode="server")
            assert found["addresses"][0] == f"/ip4/{home.address}/tcp/7520"
            for server in servers:
                until(server, dht_peers=3)
