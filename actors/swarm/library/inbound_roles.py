"""Who is the client on an inbound TCP connection: whoever has connected, but for peers that both sides dial.

When both sides of a direct upgrade dial at once, roles are agreed beforehand (punch/exchange.py). If the
peer's SYN was faster, or comes from another port, it arrives at the listener, and this side is the client all
the same. Owns the peers from which that is expected. Implements docs/protocol.md, "Direct upgrade".
"""

from collections.abc import Iterable
from typing import Any, Final

import trio
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID

from ..dial.addresses import ip_of
from .connections import transport_of

LOOK_S: Final = 0.25
"""So long it is looked whether the other side proposes something by itself, and so is a client: js-libp2p
2.10 is, against the specification."""
MAX_LOOK_BYTES: Final = 256
_PROPOSAL: Final = b"/noise\n"


class InboundRoles:
    """The roles of one host."""

    def __init__(self) -> None:
        self._expected: dict[str, bytes] = {}
        """By IP address: the peer whose SYN may come from there."""

    def expect(self, peer: bytes, hosts: Iterable[str]) -> None:
        """Be the client on connections from these IP addresses, to this peer."""
        self._expected |= dict.fromkeys(hosts, peer)

    def expect_no_more(self, peer: bytes) -> None:
        """The upgrade with this peer is over."""
        self._expected = {host: one for host, one in self._expected.items() if one != peer}

    async def upgrade(self, network: Any, stream: Any, address: Any) -> Any:
        """Return the multiplexed connection of an inbound one. Raises what the library raises."""
        peer = self._client_to(stream)
        if peer is None or await _proposes(stream):
            return await network.upgrade_inbound_raw_conn(RawConnection(stream, False), address)
        connection = await network.upgrade_outbound_raw_conn(RawConnection(stream, True), ID(peer))
        return connection.muxed_conn

    def _client_to(self, stream: Any) -> bytes | None:
        remote = stream.get_remote_address()
        if not self._expected or remote is None or transport_of(stream) != "tcp":
            return None
        return self._expected.get(str(ip_of(str(remote[0]))))


async def _proposes(stream: Any) -> bool:
    """Return whether the other side proposes Noise by itself; what it has sent is read again afterwards."""
    seen = bytearray()
    read = stream.read
    with trio.move_on_after(LOOK_S):
        while _PROPOSAL not in seen and len(seen) < MAX_LOOK_BYTES:
            data = await read(MAX_LOOK_BYTES - len(seen))
            if not data:
                break
            seen += data
    is_proposed = _PROPOSAL in seen

    async def read_again(n: int | None = None) -> bytes:
        if not seen:
            del stream.read
            return bytes(await read(n))
        data = bytes(seen if n is None or n < 0 else seen[:n])
        del seen[: len(data)]
        return data

    stream.read = read_again
    return is_proposed
