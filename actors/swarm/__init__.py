"""The swarm: the libp2p host, and the one actor that has the network (docs/architecture.md, "Swarm")."""

from ...messages.frames import ToChild
from ...supervisor.channel import Channel


async def main(channel: Channel[ToChild]) -> None:
    """Run the swarm until the node stops. libp2p is imported only here: it is large and slow to load."""
    from .actor import run

    await run(channel)
