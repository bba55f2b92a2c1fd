"""Identify: the library has no event for its end, and does not repeat one that failed; corrected, it does."""

from typing import Any

import pytest
import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import host_factory, host_lifecycle, identify
from spacedrive_node.tests.harness.library_hosts import PROTOCOL, our_host, running

DEADLINE = 20


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_failed_identify_is_tried_again(corrected: bool) -> None:
    """The first stream to ask with cannot be opened."""
    serving, asking = (
        host_factory.new_host(create_new_key_pair(bytes([number]) * 32), 16, list) for number in (1, 2)
    )
    tries = 0
    identified = trio.Event()
    new_stream = asking.new_stream

    async def failing_once(*arguments: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError
        return await new_stream(*arguments, **more)

    async def note(_peer: Any) -> None:
        if asking.get_peerstore().get_protocols(serving.get_id()):
            identified.set()

    asking.new_stream = failing_once
    if corrected:
        identify.after_identify(asking, note)
    async with host_lifecycle.run_host(serving), host_lifecycle.run_host(asking):
        await serving.get_network().listen(Multiaddr("/ip4/127.0.0.1/tcp/0"))
        address = Multiaddr(str(serving.get_transport_addrs()[0]))
        with trio.fail_after(DEADLINE):
            await asking.get_network().dial_addr(address, serving.get_id())
            if corrected:
                await identified.wait()
                assert tries == 2
            else:
                while asking._identify_inflight or not tries:
                    await trio.lowlevel.checkpoint()
                assert not asking._identified_peers


async def test_identify_tells_when_it_has_run() -> None:
    """The library has no such event (an attribute of ours would show it); with ours, protocols are there."""
    server, client = our_host(1), our_host(2)
    told = trio.Event()

    async def then(peer_id: ID) -> None:
        if PROTOCOL in client.get_peerstore().get_protocols(peer_id):
            told.set()

    server.set_stream_handler(PROTOCOL, lambda _stream: None)
    identify.after_identify(client, then)
    async with running(server, client) as (address, _):
        await client.get_network().dial_addr(address, server.get_id())
        with trio.fail_after(10):
            await told.wait()
