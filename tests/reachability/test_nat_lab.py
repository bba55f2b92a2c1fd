"""The laboratory's NATs map and filter as they say: otherwise what is tested with them means nothing."""

import socket
from collections.abc import Iterator

import pytest

from spacedrive_node.tests.harness import nat_lab
from spacedrive_node.tests.harness.nat_lab import LabHost, NatKind, NatLab, open_lab

SILENCE_S = 0.3


@pytest.fixture
def lab() -> Iterator[NatLab]:
    if problem := nat_lab.missing():
        pytest.skip(problem)
    with open_lab() as made:
        yield made


def udp(host: LabHost, port: int) -> socket.socket:
    made = host.socket(socket.SOCK_DGRAM, port)
    made.settimeout(5.0)
    return made


def comes_through(sender: socket.socket, to: tuple[str, int], receiver: socket.socket) -> bool:
    sender.sendto(b"unasked", to)
    receiver.settimeout(SILENCE_S)
    try:
        return receiver.recv(16) == b"unasked"
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    ("kind", "same_mapping", "lets_in"),
    [
        ("cone", True, (False, False)),
        ("restricted", True, (True, False)),
        ("fullcone", True, (True, True)),
        ("symmetric", False, (False, False)),
    ],
)
def test_mapping_and_filtering(
    lab: NatLab, kind: NatKind, same_mapping: bool, lets_in: tuple[bool, bool]
) -> None:
    """`lets_in`: what comes from another port of a host that was sent to, and from a host that was not."""
    one, other, third = lab.public(), lab.public(), lab.public()
    home = lab.home(kind)
    with (
        udp(home.host(), 7520) as inside,
        udp(one, 1000) as first,
        udp(one, 1001) as first_elsewhere,
        udp(other, 1000) as second,
        udp(third, 1000) as stranger,
    ):
        seen = []
        for outside, host in ((first, one), (second, other)):
            inside.sendto(b"hello", (host.address, 1000))
            seen.append(outside.recvfrom(16)[1])
        assert {host for host, _port in seen} == {home.address}
        assert (seen[0] == seen[1]) is same_mapping
        assert comes_through(first, seen[0], inside)
        assert comes_through(first_elsewhere, seen[0], inside) is lets_in[0]
        assert comes_through(stranger, seen[0], inside) is lets_in[1]


def test_a_forwarded_port_lets_everybody_in(lab: NatLab) -> None:
    stranger, home = lab.public(), lab.home("symmetric")
    host = home.host()
    home.forward("udp", 9999, host, 7520)
    with udp(host, 7520) as inside, udp(stranger, 1000) as outside:
        assert comes_through(outside, (home.address, 9999), inside)


def test_private_addresses_lead_nowhere_from_outside(lab: NatLab) -> None:
    stranger, home = lab.public(), lab.home("fullcone")
    host = home.host()
    with udp(host, 7520) as inside, udp(stranger, 1000) as outside:
        assert not comes_through(outside, (host.address, 7520), inside)
