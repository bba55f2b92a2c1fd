"""The sockets towards the gateway: what others send never comes in, whatever it says."""

import ipaddress
import select
import socket
from collections.abc import Iterator

import pytest

from spacedrive_node.actors.lan import mapping_sockets
from spacedrive_node.actors.lan.mapping_sockets import PortMappingDriver
from spacedrive_node.actors.lan.port_mapper import Gateway
from spacedrive_node.messages.to_lan import MapPorts, PortToMap
from spacedrive_node.messages.to_swarm import PortMappings

NONCE = b"twelve bytes"
GATEWAY, OTHER = "127.0.0.5", "127.0.0.6"
DEADLINE_S = 10


def bound(host: str, port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(DEADLINE_S)
    made.bind((host, port))
    return made


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A gateway on loopback, at a port that is free."""
    with bound(GATEWAY) as sock, bound("127.0.0.1") as probe:
        monkeypatch.setattr(mapping_sockets, "SERVER_PORT", sock.getsockname()[1])
        monkeypatch.setattr(mapping_sockets, "ANNOUNCEMENT_PORT", probe.getsockname()[1])
        found = Gateway(ipaddress.IPv4Address(GATEWAY), ipaddress.IPv4Address("127.0.0.1"))
        monkeypatch.setattr(mapping_sockets.routes, "gateway", lambda _answers, _interfaces: found)
        yield sock


def answer(external: int) -> bytes:
    header = bytes([2, 0x81, 0, 0]) + (3600).to_bytes(4, "big") + (100).to_bytes(4, "big") + bytes(12)
    ports = (7520).to_bytes(2, "big") + external.to_bytes(2, "big")
    return header + NONCE + bytes([6, 0, 0, 0]) + ports + bytes(10) + b"\xff\xff" + bytes([45, 77, 1, 1])


def readable(driver: PortMappingDriver, seconds: float) -> set[int]:
    return {one.fileno() for one in select.select(driver.sockets(), [], [], seconds)[0]}


@pytest.mark.parametrize("filtered", [True, False], ids=["by the kernel", "without a filter"])
def test_answers_come_from_the_gateway_alone(
    gateway: socket.socket, monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    """Not from another host at the same port, nor from another port of the gateway."""
    if not filtered:

        def refuse(*_arguments: object) -> None:
            raise OSError("no filters here")

        monkeypatch.setattr(mapping_sockets.packet_filter, "attach", refuse)
    driver = PortMappingDriver(lambda: 0.5)
    driver.want(MapPorts((PortToMap("tcp", 7520, NONCE),)), 0.0)
    try:
        assert driver.flush(0.0) == []
        _request, node = gateway.recvfrom(1100)
        port = gateway.getsockname()[1]
        with bound(OTHER, port) as other, bound(GATEWAY) as elsewhere:
            other.sendto(answer(666), node)
            elsewhere.sendto(answer(667), node)
            driver.serve(readable(driver, 0.3), 1.0)
            assert driver.flush(1.0) == []
            gateway.sendto(answer(31000), node)
            driver.serve(readable(driver, DEADLINE_S), 2.0)
            (told,) = driver.flush(2.0)
        assert isinstance(told.message, PortMappings)
        assert [one.external_port for one in told.message.mappings] == [31000]
        assert driver.flush(3.0) == []
    finally:
        driver.stop(4.0)
    given_back, _node = gateway.recvfrom(1100)
    assert given_back[4:8] == bytes(4)
    assert driver.sockets() == []


def test_a_swarm_that_knew_of_mappings_hears_that_there_are_none(gateway: socket.socket) -> None:
    """Of an earlier incarnation, say; but not before the gateway has had its time."""
    driver = PortMappingDriver(lambda: 0.5)
    driver.want(MapPorts((PortToMap("tcp", 7520, NONCE),)), 0.0)
    try:
        assert driver.flush(9.0) == []
        (told,) = driver.flush(10.0)
        assert told.message == PortMappings(())
        assert driver.flush(20.0) == []
    finally:
        driver.stop(21.0)
