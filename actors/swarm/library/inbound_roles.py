"""Who is the client on an inbound TCP connection: whoever has connected, but for peers that both sides dial.

When both sides of a direct upgrade dial at once, roles are agreed beforehand (punch/exchange.py). If the
peer's SYN was faster, or comes from another port, it arrives at the listener, and this side is the client all
the same. Owns the peers from which that is expected. Implements docs/protocol.md, "Direct upgrade".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID

from ..dial.addresses import ip_of
from .connections import close_connection, transport_of

LOOK_S: Final = 0.25
"""So long it is looked whether the other side proposes something by itself, and so is a client: js-libp2p
2.10 is, against the specification."""
MAX_LOOK_BYTES: Final = 256
_PROPOSAL: Final = b"/noise\n"


class InboundRoles:
    """The roles of one host."""

    def __init__(self) -> None:
        self._expected: dict[str, _Expected] = {}
        """By IP address: the peer whose SYN may come from there."""

    def expect(
        self, peer: bytes, hosts: Iterable[str], comes_first: Callable[[Any], bool] = lambda _connection: True
    ) -> None:
        """Be the client on connections from these IP addresses, to this peer.

        `comes_first` says of such a connection whether no other direct one was there before it; None stands
        for one that is still to be made. It is asked after `expect_no_more` too.
        """
        self._expected |= dict.fromkeys(hosts, _Expected(peer, comes_first))

    def expect_no_more(self, peer: bytes) -> None:
        """The upgrade with this peer is over."""
        self._expected = {host: one for host, one in self._expected.items() if one.peer != peer}

    async def upgrade(self, network: Any, stream: Any, address: Any) -> Any:
        """Return the multiplexed connection of an inbound one.

        Raises what the library raises; ConnectionAbortedError: another connection came first.
        """
        expected = self._expected_from(stream)
        if expected is None or await _proposes(stream):
            return await network.upgrade_inbound_raw_conn(RawConnection(stream, False), address)
        # The look and the handshake take time, in which QUIC may have made a connection.
        if not expected.comes_first(None):
            raise ConnectionAbortedError
        connection = await network.upgrade_outbound_raw_conn(RawConnection(stream, True), ID(expected.peer))
        if not expected.comes_first(connection):
            await close_connection(connection)
            raise ConnectionAbortedError
        return connection.muxed_conn

    def _expected_from(self, stream: Any) -> "_Expected | None":
        remote = stream.get_remote_address()
        if not self._expected or remote is None or transport_of(stream) != "tcp":
            return None
        return self._expected.get(str(ip_of(str(remote[0]))))


@dataclass(frozen=True)
class _Expected:
    peer: bytes
    comes_first: Callable[[Any], bool]


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
