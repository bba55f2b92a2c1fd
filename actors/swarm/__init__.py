"""The swarm: the libp2p host, in the only actor that has the network (docs/architecture.md, "Swarm").

In reading order:

actor.py    the mailbox: waits for the transport key, hands each message to the node
node.py     the running node: puts host, dialer, Kademlia and pairing together; events and reports
roles.py    what the node does for others and says of itself, by its reachability
reachability/ from where it can be reached; AutoNAT
pairing/    pairing frames: inbound and outbound exchanges, whose a frame is, and the limits on peers
quic/       the transport QUIC; a swarm that uses it has its entry there
websocket/  the transport WebSocket, likewise
webrtc/     the transport WebRTC-direct, likewise; needs packages that are an extra
relay/      circuit relay v2: reached through relays, and being one
punch/      from a relayed connection to a direct one, through both NATs
dial/       addresses, names, and the dialer
kad/        Kademlia: this node's server, requests to others, the routing table
host.py     opens the host, and knows its addresses
listening.py opens its listeners and chooses their port
metrics.py  metrics
library/    corrections of libp2p, and streams as this project uses them

A folder imports from those below it. The exception is dial/addresses.py, which every folder uses.
"""

from ...messages.child_protocol import ToChild
from ...supervisor.channel import Channel
from .library.unused_modules import without_unused_modules


async def main(channel: Channel[ToChild]) -> None:
    """Run the swarm until the node stops. libp2p is imported here, because it is slow to load."""
    with without_unused_modules():
        from .actor import run

    await run(channel)


def warm_up() -> None:
    """Import everything, also what the libraries import at first use: the sandbox allows no import later."""
    import encodings.idna  # noqa: F401, getaddrinfo uses it each time

    with without_unused_modules():
        from . import actor  # noqa: F401, `main` then finds it imported
        from .dial import interfaces, resolver
        from .library import lazy_imports

        lazy_imports.import_lazy_modules()
        resolver.load_name_services()
        interfaces.remember()
