"""A host that closes still hears of its connections: nothing of that may end the actor out of order."""

from typing import Any

import trio
from libp2p.peer.id import ID

from spacedrive_node.actors.swarm.node import SwarmNode
from spacedrive_node.actors.swarm.pairing.frame_routing import FrameRouting
from spacedrive_node.tests.harness.swarm_actors import local, seed


class Unheard:
    """A mailbox whose reader is gone."""

    incarnation = 1

    async def send(self, *_: Any, **__: Any) -> None:
        raise AssertionError("sent after the end")

    async def log(self, *_: Any, **__: Any) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_peer_that_is_identified_while_the_host_closes() -> None:
    """Identify ends when the tasks of the node have ended already."""
    async with SwarmNode.open(Unheard(), local(), FrameRouting(), seed("anna"), ()) as node:  # type: ignore[arg-type]
        pass
    await node._identified(ID(b"\x00\x24\x08\x01\x12\x20" + bytes(32)))
