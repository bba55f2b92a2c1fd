"""The library's dialing rules are off: the defect of the library, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it.
"""

from typing import Any

import libp2p.network.swarm as library_swarm
import pytest
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import dialing
from spacedrive_node.tests.harness.library_hosts import make, our_host, running


async def test_dials_have_no_floor() -> None:
    """dial_peer waits 250 ms after a success by default; the correction leaves 20 ms."""
    assert library_swarm._HAPPY_EYEBALLS_DELAY in (0.25, dialing.HEAD_START_S)
    assert our_host(1) is not None
    assert library_swarm._HAPPY_EYEBALLS_DELAY == dialing.HEAD_START_S


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_peer_that_failed_once_is_not_refused(corrected: bool) -> None:
    """A failed dial bars the peer for a minute by default, though it is there again."""
    client, server = make(corrected, 2), our_host(1)
    nobody = Multiaddr("/ip4/127.0.0.1/tcp/1")
    async with running(server, client) as (address, _):
        with pytest.raises(Exception, match=r".*"):
            await client.connect(PeerInfo(server.get_id(), [nobody]))
        client.get_peerstore().clear_addrs(server.get_id())
        reached = True
        try:
            await client.connect(PeerInfo(server.get_id(), [address]))
        except library_swarm.SwarmException:
            reached = False
    assert reached is corrected


async def test_the_auto_connector_is_off() -> None:
    """By default a host dials known peers by itself, also with both minima at zero."""
    dialled: list[bool] = []
    for corrected in (False, True):
        host = our_host(1)
        network = host.get_network()
        if not corrected:
            del network.auto_connector.maybe_connect
        asked: list[bool] = []

        async def candidates(asked: list[bool] = asked) -> list[Any]:
            asked.append(True)
            return []

        network.auto_connector._get_candidate_peers = candidates
        async with running(host):
            await network.auto_connector.maybe_connect()
        dialled.append(bool(asked))
    assert dialled == [True, False]
