"""The library's dialing rules are off: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

from typing import Any

import libp2p.network.swarm as library_swarm
import pytest
import trio
from libp2p.host.exceptions import StreamFailure
from libp2p.network.auto_connector import AutoConnector
from libp2p.peer.peerinfo import PeerInfo

from spacedrive_node.actors.swarm.library import dialing, host_lifecycle
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, make, our_host, running


async def test_dials_have_no_floor() -> None:
    """dial_peer waits 250 ms after a success by default; the correction leaves 20 ms."""
    assert library_swarm._HAPPY_EYEBALLS_DELAY in (0.25, dialing.HEAD_START_S)
    assert our_host(1) is not None
    assert library_swarm._HAPPY_EYEBALLS_DELAY == dialing.HEAD_START_S


@pytest.mark.parametrize("corrected", [False, True])
async def test_the_library_does_not_dial(corrected: bool) -> None:
    """To connect and to open a stream dial a known peer by default; corrected, all of it raises."""
    client, server = make(corrected, 2), our_host(1)
    network = client.get_network()
    async with running(server, client) as (address, _):
        info = PeerInfo(server.get_id(), [address])
        client.get_peerstore().add_addrs(server.get_id(), [address], 60)
        dials = (
            lambda: client.connect(info),
            lambda: client.new_stream(server.get_id(), [PROTOCOL]),
            lambda: network.new_stream(server.get_id()),
            lambda: network.dial_peer(server.get_id()),
            lambda: network.dial_peer_replacement(server.get_id()),
        )
        refused = 0
        for dial in dials:
            try:
                await dial()
            except dialing.DialForbiddenError:
                refused += 1
            except StreamFailure:
                pass  # connected; it has no such protocol
        assert refused == (len(dials) if corrected else 0)
        assert bool(network.get_connections(server.get_id())) is not corrected


async def test_the_auto_connector_is_off() -> None:
    """By default a host dials known peers by itself, also with both minima at zero."""
    dialled: list[bool] = []
    for corrected in (False, True):
        host = our_host(1)
        network = host.get_network()
        if not corrected:
            network.auto_connector = AutoConnector(network)
        asked: list[bool] = []

        async def candidates(asked: list[bool] = asked) -> list[Any]:
            asked.append(True)
            return []

        network.auto_connector._get_candidate_peers = candidates
        async with running(host):
            await network.auto_connector.maybe_connect()
        dialled.append(bool(asked))
    assert dialled == [True, False]


@pytest.mark.parametrize("corrected", [False, True])
async def test_peers_that_were_connected_are_not_remembered_for_ever(corrected: bool) -> None:
    """The auto-connector notes each peer that ever disconnected; without it nothing of the network does."""
    server = make(corrected, 1)
    network = server.get_network()
    async with running(server) as (address,):
        for number in range(2, 7):
            client = our_host(number)
            async with host_lifecycle.run_host(client):
                with trio.fail_after(60):
                    await client.get_network().dial_addr(address, server.get_id())
                    while not network.get_connections():
                        await trio.lowlevel.checkpoint()
            with trio.fail_after(60):
                while network.get_connections():
                    await trio.lowlevel.checkpoint()
        if not corrected:
            with trio.fail_after(60):
                while len(network.auto_connector._recent_disconnects) < 5:
                    await trio.lowlevel.checkpoint()
        assert hasattr(network.auto_connector, "_recent_disconnects") is not corrected
