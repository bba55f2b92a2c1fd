"""The laboratory's NATs map and filter as they say: otherwise what is tested with them means nothing."""

import socket
import time
from collections.abc import Iterator

import pytest

from spacedrive_node.tests.harness import nat_lab
from spacedrive_node.tests.harness.lab_wire import Weather
from spacedrive_node.tests.harness.nat_lab import LabHost, NatKind, NatLab, PlaceKind, open_lab

SILENCE_S = 0.3
ROUND_TRIP_S = 0.05


def udp(host: LabHost, port: int) -> socket.socket:
    made = host.socket(socket.SOCK_DGRAM, port)
    made.settimeout(60.0)
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


# With a wire

SIDES: tuple[PlaceKind, ...] = ("public", "fullcone", "cone", "udp-blocked", "double")


@pytest.fixture
def distant() -> Iterator[NatLab]:
    if problem := nat_lab.missing_for_wire():
        pytest.skip(problem)
    with open_lab(Weather(ROUND_TRIP_S)) as made:
        yield made


@pytest.mark.parametrize("kind", SIDES)
def test_a_packet_takes_its_time_on_the_wire(distant: NatLab, kind: PlaceKind) -> None:
    """From a place of each kind to a public host and back; behind two NATs it has the outer one's address."""
    server, host = distant.public(), distant.place(kind)
    with tcp(server, 1000) as listening, tcp(host, 7520) as inside:
        began = time.monotonic()
        inside.connect((server.address, 1000))
        assert time.monotonic() - began >= ROUND_TRIP_S
        outside, (seen, _port) = listening.accept()
        outside.close()
        assert seen.startswith("45.33." if kind == "public" else "45.77.")


def test_udp_is_blocked_where_it_is_blocked(distant: NatLab) -> None:
    server, host = distant.public(), distant.place("udp-blocked")
    with udp(server, 1000) as outside, udp(host, 7520) as inside:
        assert not comes_through(inside, (server.address, 1000), outside)


def test_a_home_of_ipv6_alone_reaches_out_and_is_not_reached(distant: NatLab) -> None:
    server, host = distant.public(), distant.place("ipv6")
    at_server = distant.ipv6_of(server)
    with (
        host.socket(socket.SOCK_DGRAM, 7520, socket.AF_INET6) as inside,
        server.socket(socket.SOCK_DGRAM, 1000, socket.AF_INET6) as outside,
        server.socket(socket.SOCK_DGRAM, 1001, socket.AF_INET6) as elsewhere,
    ):
        assert comes_through(inside, (at_server, 1000), outside)
        assert comes_through(outside, (host.address, 7520), inside)
        assert not comes_through(elsewhere, (host.address, 7520), inside)


def test_a_wire_loses_what_its_seed_says() -> None:
    if problem := nat_lab.missing_for_wire():
        pytest.skip(problem)
    lost = []
    for seed in (1, 1, 2):
        with open_lab(Weather(0.0, 0.3, seed)) as lab:
            one, other = lab.public(), lab.public()
            with udp(one, 1000) as sender, udp(other, 1000) as receiver:
                receiver.settimeout(SILENCE_S)
                lost.append([not arrives(sender, other.address, receiver) for _ in range(20)])
    assert lost[0] == lost[1] != lost[2]
    assert 1 <= sum(lost[0]) <= 13


def tcp(host: LabHost, port: int) -> socket.socket:
    made = host.socket(socket.SOCK_STREAM, port)
    made.settimeout(60.0)
    if port == 1000:
        made.listen()
    return made


def arrives(sender: socket.socket, to: str, receiver: socket.socket) -> bool:
    sender.sendto(b"x", (to, 1000))
    try:
        return receiver.recv(16) == b"x"
    except TimeoutError:
        return False
