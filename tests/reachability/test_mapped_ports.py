"""Which ports the gateway is asked to open, and what its answer is taken for; the swarm's side of it."""

from typing import Any

import pytest

from spacedrive_node.actors.swarm.dial.addresses import Endpoint, parse
from spacedrive_node.actors.swarm.reachability import mapped_ports
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_gateway import SwarmStatus
from spacedrive_node.messages.to_lan import MapPorts
from spacedrive_node.messages.to_swarm import PortMapping, PortMappings
from spacedrive_node.tests.harness.swarm_actors import open_swarm, seed

LISTENING = [
    parse("/ip4/0.0.0.0/tcp/7520"),
    parse("/ip4/0.0.0.0/udp/7521/quic-v1"),
    parse("/ip6/::/tcp/7520"),
    parse("/ip4/0.0.0.0/tcp/7522/ws"),
    parse("/ip4/127.0.0.1/tcp/7523"),
]
HOME = [parse("/ip4/192.168.1.2/tcp/7520")]
PUBLIC = "45.77.1.1"


def asked(announced: list[Endpoint], listening: list[Endpoint] | None = None) -> list[tuple[str, int]]:
    message = mapped_ports.ports_to_map(listening or LISTENING, announced, bytes(32))
    return [(one.protocol, one.port) for one in message.ports]


def test_the_ports_of_ip4_that_are_reached_from_elsewhere_are_asked_for() -> None:
    assert asked(HOME) == [("tcp", 7520), ("udp", 7521)]


def test_a_public_host_asks_for_none() -> None:
    assert asked([*HOME, parse("/ip4/45.1.1.1/tcp/7520")]) == []
    assert asked([*HOME, parse("/ip6/2a01::1/tcp/7520")]) != []


def test_eight_ports_are_asked_for() -> None:
    many = [parse(f"/ip4/0.0.0.0/tcp/{port}") for port in range(1, 50)]
    assert len(asked(HOME, many)) == mapped_ports.MAX_PORTS == 8


def test_the_name_of_a_mapping_follows_from_the_key_and_tells_nothing_of_it() -> None:
    def names(key: bytes) -> list[bytes]:
        return [one.nonce for one in mapped_ports.ports_to_map(LISTENING, HOME, key).ports]

    assert names(b"k" * 32) == names(b"k" * 32)
    assert len({*names(b"k" * 32), *names(b"l" * 32)}) == 4


def test_what_the_gateway_says_is_read_with_suspicion() -> None:
    said = [
        PortMapping("tcp", 7520, PUBLIC, 31000),
        PortMapping("udp", 7521, PUBLIC, 31001),
        PortMapping("udp", 7520, PUBLIC, 31002),
        PortMapping("tcp", 9999, PUBLIC, 31003),
        PortMapping("tcp", 7520, "192.168.0.1", 31004),
        PortMapping("tcp", 7520, "localhost", 31005),
    ]
    assert [str(one) for one in mapped_ports.endpoints(said, LISTENING)] == [
        f"/ip4/{PUBLIC}/tcp/31000",
        f"/ip4/{PUBLIC}/udp/31001/quic-v1",
    ]


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_swarm_asks_lan_only_if_there_is_one(wanted: bool) -> None:
    """Again with the same names after a restart; and what it is told is not announced for that alone."""
    config = SwarmConfig(listen=("/ip4/0.0.0.0/tcp/0",), port_mapping=wanted)
    messages: list[Any] = []
    for incarnation in (1, 2):
        async with open_swarm("a", config, incarnation=incarnation) as a:
            await a.expect(SwarmStatus)
            port = parse(a.up.listening[0]).port
            messages += [message for to, message, _id in a.sent if to == "lan"]
            await a.deliver("lan", PortMappings((PortMapping("tcp", port, PUBLIC, 31000),)))
            config = SwarmConfig(listen=(f"/ip4/0.0.0.0/tcp/{port}",), port_mapping=wanted)
            assert a.count(SwarmUp) == 1
            assert all(PUBLIC not in address for address in a.addresses)
    if wanted:
        assert (
            messages[0] == messages[1] == mapped_ports.ports_to_map([parse(config.listen[0])], [], seed("a"))
        )
        assert messages[0].ports
    else:
        assert messages == []
    assert all(isinstance(message, MapPorts) for message in messages)
