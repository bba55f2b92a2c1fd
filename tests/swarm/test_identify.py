"""Identify that fails once: by the library it is not tried again while the connection lasts."""

from typing import Any

import pytest
import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import corrections

DEADLINE = 20


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_failed_identify_is_tried_again(corrected: bool) -> None:
    """The first stream to ask with cannot be opened."""
    serving, asking = (
        corrections.new_host(create_new_key_pair(bytes([number]) * 32), 16, list) for number in (1, 2)
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
        corrections.after_identify(asking, note)
    async with corrections.run_host(serving), corrections.run_host(asking):
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
