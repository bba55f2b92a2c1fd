"""Whole nodes on the hosts of a NAT laboratory, and what they say of themselves."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from spacedrive_node.tests.harness.nat_lab import LabHost, NatLab
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up

QUIC = ("--listen", "/ip4/0.0.0.0/udp/7520/quic-v1")


@contextmanager
def lab_node(
    folder: Path, name: str, host: LabHost, *flags: str, offline: bool = False
) -> Iterator[UpCommand]:
    """Run a node that listens on TCP and QUIC, port 7520, or on loopback."""
    place = folder / name
    place.mkdir(mode=0o700)
    quic, listen = ((), None) if offline else (QUIC, "/ip4/0.0.0.0/tcp/7520")
    flags = (*quic, "--port-mapping", "--no-same-host", "--log-format", "json", *flags)
    with sdnode_up(place, name, *flags, command=host.command, listen=listen) as up:
        yield up


def knowing(servers: Sequence[UpCommand]) -> tuple[str, ...]:
    """Return the flags with which a node knows these."""
    return tuple(
        flag for one in servers for address in one.ready["dial"] for flag in ("--bootstrap", address)
    )


@contextmanager
def three_servers(folder: Path, lab: NatLab) -> Iterator[list[UpCommand]]:
    """Run three DHT servers in different address blocks, which know each other."""
    with ExitStack() as stack:
        servers: list[UpCommand] = []
        for name in ("one", "two", "three"):
            flags = ("--dht-mode", "server", *knowing(servers))
            servers.append(stack.enter_context(lab_node(folder, name, lab.public(), *flags)))
        yield servers


def until(up: UpCommand, **wanted: Any) -> dict[str, Any]:
    """Ask a node for its status until it is as wanted; return it."""
    deadline = time.monotonic() + DEADLINE
    while True:
        (found,) = up.run("status")
        dht: Any = found["dht"]
        shown = {**found, **{f"dht_{key}": value for key, value in dht.items()}}
        if all(shown[key] == value for key, value in wanted.items()):
            return shown
        assert time.monotonic() < deadline, (shown, up.log())


def metric(up: UpCommand, host: LabHost, name: str) -> dict[str, int]:
    """Return the values of a metric of a node with one label, by that."""
    script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    url = f"http://{up.ready['metrics']}/metrics"
    done = subprocess.run(
        [*host.command, sys.executable, "-c", script, url],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"spacedrive_node_{name}{{")]
    return {line.split('"')[1]: int(float(line.rpartition(" ")[2])) for line in lines}


def until_metric(up: UpCommand, host: LabHost, name: str, label: str, count: int) -> dict[str, int]:
    """Ask a node for a metric until it has reached a value; return all its values."""
    deadline = time.monotonic() + DEADLINE
    while (found := metric(up, host, name)).get(label, 0) < count:
        assert time.monotonic() < deadline, (name, found, up.run("status"), up.log())
    return found
