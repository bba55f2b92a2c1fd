"""Where a connection comes from: the defect of the library, and its absence with the correction."""

import trio
from libp2p.io.trio import TrioTCPStream

from spacedrive_node.actors.swarm.library import connections


async def test_the_other_side_s_address_is_known_for_ipv6_too() -> None:
    """get_remote_address() is None for IPv6, whose addresses have four parts."""
    listener = (await trio.open_tcp_listeners(0, host="::1"))[0]
    stream = await trio.open_tcp_stream("::1", listener.socket.getsockname()[1])
    wrapped = TrioTCPStream(stream)
    assert connections._library_remote_address(wrapped) is None
    assert connections.remote_address(wrapped) == listener.socket.getsockname()[:2]
    connections.use_remote_address()
    assert wrapped.get_remote_address() == listener.socket.getsockname()[:2]
    await stream.aclose()
    await listener.aclose()
