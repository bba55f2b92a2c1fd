"""Which addresses of this host come first: by a tree of files, and in a network namespace."""

import ipaddress
import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from spacedrive_node.actors.swarm.dial import interfaces

ROUTES = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty /sys/class/net and /proc/net."""
    (tmp_path / "sys/class/net").mkdir(parents=True)
    (tmp_path / "proc/net").mkdir(parents=True)
    return tmp_path


def add(root: Path, name: str, carrier: str | None = "1", kind: str | None = None) -> None:
    folder = root / "sys/class/net" / name
    folder.mkdir()
    if carrier is not None:
        (folder / "carrier").write_text(f"{carrier}\n")
    if kind is not None:
        (folder / kind).mkdir()


def names(root: Path) -> list[str]:
    """Names in order, of those that come as sysfs has them."""
    ranks = interfaces.ranks(root)
    return sorted(ranks, key=lambda name: (ranks[name], name))


def test_the_default_route_first_and_bridges_and_carrierless_ones_last(root: Path) -> None:
    """As on a laptop with containers: docker0 is empty, br-1 has one, eth0 has no cable."""
    add(root, "br-1", "1", "bridge")
    add(root, "docker0", "0", "bridge")
    add(root, "eth0", "0")
    add(root, "eth1", None)
    add(root, "veth1", "1", "brport")
    add(root, "wg0")
    add(root, "wlan0")
    (root / "proc/net/route").write_text(
        ROUTES
        + "eth0 00000000 0100000A 0003 0 0 900 00000000 0 0 0\n"
        + "wlan0 00000000 0100000A 0003 0 0 600 00000000 0 0 0\n"
        + "br-1 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
    )
    assert names(root) == ["wlan0", "wg0", "br-1", "veth1", "docker0", "eth0", "eth1"]


def test_a_bridge_with_the_default_route_is_first(root: Path) -> None:
    """A server whose only card is in a bridge, for its virtual machines; by IPv6 as well."""
    for name in ("br0", "br6"):
        add(root, name, "1", "bridge")
    add(root, "eth0", "1", "brport")
    add(root, "eth1")
    (root / "proc/net/route").write_text(ROUTES + "br0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n")
    zeros, six = "0" * 32, root / "proc/net/ipv6_route"
    rest = f"{zeros} 00 {zeros}"
    six.write_text(
        f"{zeros} 00 {rest} ffffffff 00000001 00000000 00200200 lo\n"
        f"{zeros} 00 {rest} 00000400 00000001 00000000 00000003 br6\n"
    )
    assert names(root) == ["br0", "br6", "eth1", "eth0"]


@pytest.mark.parametrize("text", ["", "garbage", "\x00\xff\n\xfe", ROUTES + "a b c\n", ROUTES + "x " * 20])
def test_files_that_say_nothing(root: Path, text: str) -> None:
    """Every interface counts the same then."""
    add(root, "eth0")
    (root / "proc/net/route").write_text(text, encoding="latin-1")
    assert interfaces.ranks(root) == {"eth0": 1}
    assert interfaces.ranks(root / "none") == {}


def test_addresses_in_order() -> None:
    """By rank, then IPv4; the better of two interfaces counts; unknown ones are ordinary."""
    found = [
        ("docker0", "172.17.0.1"),
        ("lo", "127.0.0.1"),
        ("wlan0", "fe80::1"),
        ("wlan0", "2001:db8::1"),
        ("new0", "10.0.0.1"),
        ("docker0", "192.168.1.5"),
        ("wlan0", "192.168.1.5"),
    ]
    assert [str(own.ip) for own in interfaces.in_order(found, {"wlan0": 0, "docker0": 3})] == [
        "192.168.1.5",
        "2001:db8::1",
        "10.0.0.1",
        "172.17.0.1",
    ]


def test_both_versions_in_turn() -> None:
    """Of one rank, so that many addresses of one version do not crowd out the other; public ones first."""
    four = [("eth0", f"10.0.0.{number}") for number in range(1, 4)] + [("eth0", "8.8.8.8")]
    six = [("eth0", "fd00::1"), ("eth0", "2a00::1"), ("eth0", "2a00::2")]
    assert [str(own.ip) for own in interfaces.in_order(four + six, {"eth0": 0})] == [
        "8.8.8.8", "2a00::1", "10.0.0.1", "2a00::2", "10.0.0.2", "fd00::1", "10.0.0.3",
    ]  # fmt: skip


_SCRIPT = """
set -e
mount -t sysfs sysfs /sys
ip link set lo up
ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up
ip link add cable0 type veth peer name cable1
ip addr add 192.0.2.7/24 dev cable0 && ip link set cable0 up && ip link set cable1 up
ip link add cable2 type veth peer name cable3
ip addr add 10.9.9.9/24 dev cable2 && ip link set cable2 up && ip link set cable3 up
ip route add default via 192.0.2.1 dev cable0
exec "$@"
"""


def test_real_interfaces() -> None:
    """In a namespace with an empty bridge that was there first, and a default route."""
    show = (
        "import json; from spacedrive_node.actors.swarm.dial import interfaces;"
        "print(json.dumps([str(own.ip) for own in interfaces.addresses()]))"
    )
    unshare = ("unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", _SCRIPT, "sh")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["192.0.2.7", "10.9.9.9", "172.17.0.1"]


def test_the_addresses_are_those_that_psutil_lists() -> None:
    """The kernel's answers are read as the C library reads them for psutil."""
    listed = {
        (name, entry.address.partition("%")[0])
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    }
    ips = {ipaddress.ip_address(text) for _name, text in listed}
    usable = {ip for ip in ips if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)}
    assert {one.ip for one in interfaces.addresses()} == usable
    assert set(interfaces.link_local_addresses()) == {ip for ip in ips if ip.is_link_local}


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_descriptor_the_interfaces_are_those_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The swarm looks at them once in a minute, for dials and for what it tells: none of that may end it."""
    ask = (interfaces.network, interfaces.addresses, interfaces.link_local_addresses, interfaces.zones)
    before = [one() for one in ask]
    with no_descriptor_left():
        assert [one() for one in ask] == before
    monkeypatch.setattr(interfaces, "_last", None)
    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        interfaces.network()
