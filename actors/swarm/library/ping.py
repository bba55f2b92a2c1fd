"""Ping: answered by the library, which is made to forget who has pinged; and asked, of one connection."""

from typing import Any

import trio
from libp2p.host.ping import ID as PING_ID

from . import streams


async def answers(connection: Any, timeout_s: float) -> bool:
    """Return whether anything comes back on a connection; a peer that refuses to be pinged is there too."""
    try:
        with trio.fail_after(timeout_s):
            async with streams.open_stream(connection, PING_ID, bytes(32)) as stream:
                await streams.read_exactly(stream, 32)
    except (streams.StreamNotOpenedError, trio.TooSlowError):
        return False
    except streams.StreamError:
        return not connection.muxed_conn.is_closed
    return True


def forget_who_pinged(host: Any) -> None:
    """Drop the library's entry of a peer when its last ping stream has ended.

    Defect (0.8.1, host/ping.py:181): each peer that ever pinged keeps an entry, without a bound. Peer ids
    cost a stranger nothing.
    Test: tests/swarm/test_ping.py.
    """
    answer = host.get_mux().handlers[PING_ID]
    streams_by_peer = answer.__self__._inbound_streams

    async def answer_and_forget(stream: Any) -> None:
        peer_id = stream.muxed_conn.peer_id
        try:
            await answer(stream)
        finally:
            if not streams_by_peer.get(peer_id):
                streams_by_peer.pop(peer_id, None)

    host.set_stream_handler(PING_ID, answer_and_forget)
