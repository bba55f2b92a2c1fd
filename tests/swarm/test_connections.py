"""Where a connection comes from, and how it ends: the defects of the library, and their absence."""

from typing import Any

import trio
from libp2p.io.trio import TrioTCPStream

from spacedrive_node.actors.swarm.library import connections
from spacedrive_node.actors.swarm.library.notifications import ConnectionEvents
from spacedrive_node.tests.harness.library_hosts import our_host, running


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


async def test_the_end_of_a_connection_is_told_also_when_closing_is_given_up() -> None:
    """It takes more than a second when hundreds are closed at once on a slow machine, or a peer is frozen.

    Nobody would learn otherwise that a DHT server or a relay is not connected any more.
    """
    one, other = our_host(1), our_host(2)
    ended: list[Any] = []
    async with running(other, one) as (address, _):
        network = one.get_network()
        network.register_notifee(ConnectionEvents(lambda _one: None, ended.append))
        with trio.fail_after(60):
            connection = await network.dial_addr(address, other.get_id())
            connection.muxed_conn.close = trio.sleep_forever
            await connections.close_connection(connection)
            assert ended == [connection]
            assert network.get_connections() == []
            while other.get_network().get_connections():  # the other side hears of it too
                await trio.lowlevel.checkpoint()
