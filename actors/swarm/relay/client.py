"""This node as a client of relays: it keeps reservations, dials through relays, and is dialled through them.

Owns the conversations with relays; at which ones there are reservations, relay_choice.py decides. What comes
through a relay is let in as what a listener accepts: the same gate and the same limits, with the relay as the
block that is counted (library/connections.py). Implements docs/protocol.md, "Relays".
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import trio
from libp2p.custom_types import TProtocol
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from ....messages.errors import SpacedriveNodeError
from ....messages.types import PeerAddresses
from ....protocol.multiaddrs import MAX_ADDRESS_CHARACTERS, AddressError, Endpoint, parse
from ....protocol.peer_ids import peer_id_text
from ...base import now
from ..dial import addresses
from ..dial.dialer import Dialer, UnreachableError
from ..dial.hearsay import heard
from ..library import ping, streams
from ..library.connection_limits import serve_inbound
from ..library.connections import (
    RelayedAddress,
    address_block_of,
    close_connection,
    connection_kind,
    host_of,
    is_alive,
    transport_of,
)
from ..peer_reports import Behaviour
from . import messages
from .circuit_stream import CircuitStream
from .relay_choice import RelayChoice
from .vouchers import VoucherError, check_voucher

ANSWER_TIMEOUT_S: Final = 10.0
"""For the answer of a relay, which may wait for the peer's."""
STOP_TIMEOUT_S: Final = 5.0
PING_INTERVAL_S: Final = 6.0
PING_TIMEOUT_S: Final = 3.0
"""A NAT that forgets the connection with a relay says nothing: ten seconds later there is another one."""
IDLE_CIRCUIT_S: Final = 30.0
"""After so long without a byte the side that has dialled ends a circuit: a relay has few. While two users
decide, their devices exchange something every eight seconds at least (actors/session/entry_actions.py)."""
MAX_CIRCUITS_PER_RELAY: Final = 64
"""That may come in through one relay, or be set up, at once."""
MAX_ADDRESSES_PER_RELAY: Final = 2
MIN_DURATION_S: Final = 60
MIN_DATA_BYTES: Final = 32 * 1024
"""A relay that lets less through is of no use for a pairing."""


class RelayError(SpacedriveNodeError):
    """The relay does not do what it was asked for. The text is short and quotes no bytes of it."""


class RefusedByRelayError(RelayError):
    """The relay has said no."""


class RelayClient:
    """The client of one host. `changed` is called when other addresses lead here through relays.

    `behaved` hears of relays whose reservations hold, and of those that are not there.
    """

    def __init__(
        self,
        host: Any,
        dialer: Dialer,
        choice: RelayChoice,
        nursery: trio.Nursery,
        changed: Callable[[], None],
        behaved: Callable[[bytes, Behaviour], None] = lambda _relay, _behaviour: None,
    ) -> None:
        self._host = host
        self._own_peer: bytes = host.get_id().to_bytes()
        self._dialer = dialer
        self._choice = choice
        self._nursery = nursery
        self._changed = changed
        self._behaved = behaved
        self._wake = trio.Event()
        self._incoming: Counter[bytes] = Counter()
        """By relay: circuits through it that have come in, or are being set up."""
        self._watched: set[bytes] = set()
        self._is_serving = False

    @property
    def circuits(self) -> tuple[str, ...]:
        """The addresses that lead here through relays."""
        return self._choice.circuits

    @property
    def reservations(self) -> int:
        """How many relays there is a reservation at."""
        return len(self._choice.kept)

    def keeps(self, peer: bytes) -> bool:
        """Return whether there is a reservation at this relay, or a circuit that has come in through it."""
        return self._choice.keeps(peer) or self._incoming[peer] > 0

    async def run(self) -> None:
        """Keep reservations, until cancelled."""
        while True:
            self._wake = trio.Event()
            for relay in self._choice.poll(now()):
                self._nursery.start_soon(self._ask, relay)
            self._changed()  # one may just have run out
            with trio.move_on_after(max(self._choice.wake_at() - now(), 0.0)):
                await self._wake.wait()

    def joined(self, relay: PeerAddresses, address_block: str | None) -> None:
        """Take up a DHT server that offers to relay, and is connected."""
        self._choice.joined(relay, address_block, now())
        self._wake.set()

    def remembered(self, relay: PeerAddresses, address_block: str | None) -> None:
        """Take up a relay that was of use before this process."""
        self._choice.remembered(relay, address_block)
        self._wake.set()

    def want_found(self, wanted: bool) -> None:
        """Say whether relays are used that nobody has configured."""
        if wanted != self._choice.wants_found:
            self._choice.wants_found = wanted
            self._wake.set()

    def network_changed(self) -> None:
        """Renew reservations at once, and ask where there was none."""
        self._choice.begin_anew(now())
        self._wake.set()

    def handle_disconnected(self, peer: bytes) -> None:
        """A connection has ended; if it was the last direct one with a relay, its reservation has too."""
        if self._choice.keeps(peer) and self._dialer.direct(peer) is None:
            self._choice.lost(peer, now())
            self._changed()
            self._wake.set()

    # Reservations

    async def _ask(self, relay: PeerAddresses) -> None:
        """Ask one relay for a reservation, or to renew it."""
        connection = None
        try:
            with trio.fail_after(2 * ANSWER_TIMEOUT_S):
                connection = await self._dialer.connect_relay(relay.peer, relay.addresses, relay.hearsay)
                answer = await self._request(connection, messages.reserve_request())
            granted = self._check(answer, relay.peer)
            if not is_alive(connection):
                raise RelayError("gone")
        except Exception as error:  # whatever the library raises concerns this relay alone
            is_no = isinstance(error, RefusedByRelayError | VoucherError | messages.RelayMessageError)
            self._choice.refused(relay.peer, now(), for_long=is_no)
            if isinstance(error, UnreachableError | trio.TooSlowError):
                self._behaved(relay.peer, "dropped")
        else:
            block = address_block_of(connection.muxed_conn)
            circuits = self._circuits(connection, relay.peer, granted)
            life = granted.expires_unix - time.time()
            is_kept = self._choice.granted(relay.peer, block, circuits, life, now())
            if is_kept:
                self._serve()
            if is_kept and relay.peer not in self._watched:
                self._watched.add(relay.peer)
                self._nursery.start_soon(self._watch, relay.peer)
        self._changed()
        self._wake.set()

    def _check(self, answer: messages.Answer, relay: bytes) -> messages.Reservation:
        """Return what was granted. Raises RelayError, VoucherError."""
        if not answer.is_ok or answer.reservation is None:
            raise RefusedByRelayError("no reservation")
        if answer.reservation.voucher:
            check_voucher(answer.reservation.voucher, relay, self._own_peer)
        if 0 < answer.limit.duration_s < MIN_DURATION_S or 0 < answer.limit.data_bytes < MIN_DATA_BYTES:
            raise RefusedByRelayError("too little for a pairing")
        return answer.reservation

    def _circuits(self, connection: Any, relay: bytes, reservation: messages.Reservation) -> tuple[str, ...]:
        """Return addresses through a relay: where it was reached, then what it says and is believed."""
        text = peer_id_text(relay)
        found: dict[Endpoint, None] = {}
        dialled = self._dialer.dialled(connection)
        if dialled is not None:
            found[dialled.with_zone("")] = None
        said = PeerAddresses(
            relay, tuple(_own_addresses(reservation.addresses, text))[: addresses.MAX_ADDRESSES]
        )
        for endpoint in addresses.usable(heard(said, host_of(connection)).addresses):
            found[endpoint] = None
        ways = (str(one.through(text)) for one in found)
        # No message of this node has room for a longer one, and no peer would read it.
        return tuple(one for one in ways if len(one) <= MAX_ADDRESS_CHARACTERS)[:MAX_ADDRESSES_PER_RELAY]

    async def _watch(self, relay: bytes) -> None:
        """Ping a relay while there is a reservation, so that one is noticed that has gone without a word."""
        try:
            while self._choice.keeps(relay):
                await trio.sleep(PING_INTERVAL_S)  # not a wait for an event: what does not answer makes none
                connection = self._dialer.direct(relay)
                if connection is None:
                    continue
                if not await ping.answers(connection, PING_TIMEOUT_S):
                    await close_connection(connection)
                    self.handle_disconnected(relay)
                elif self._choice.has_held(relay, now()):
                    self._behaved(relay, "answered")
        finally:
            self._watched.discard(relay)

    # Dialling through a relay

    async def _request(self, connection: Any, request: bytes) -> messages.Answer:
        """Send one HOP request, and return the answer. Raises SpacedriveNodeError."""
        stream = await streams.begin_stream(connection, messages.HOP_PROTOCOL, request)
        try:
            return messages.read_hop_answer(
                await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
            )
        finally:
            await streams.close(stream)

    async def open_circuit(self, connection: Any, peer: bytes) -> Any:
        """Return a connection with `peer` through the relay of `connection`. Raises an error otherwise.

        Noise proves who is at the other end.
        """
        stream = await streams.begin_stream(connection, messages.HOP_PROTOCOL, messages.connect_request(peer))
        try:
            with trio.fail_after(ANSWER_TIMEOUT_S):
                answer = messages.read_hop_answer(
                    await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
                )
                if not answer.is_ok:
                    raise RefusedByRelayError("no circuit")
                circuit = CircuitStream(stream, _behind(connection))
                through = await self._host.get_network().upgrade_outbound_raw_conn(
                    RawConnection(circuit, True), ID(peer)
                )
        except BaseException:
            await streams.reset(stream)
            raise
        self._nursery.start_soon(_close_when_idle, through, circuit)
        return through

    # Being dialled through one

    def _serve(self) -> None:
        """Take circuits from now on."""
        if not self._is_serving:
            self._is_serving = True
            self._host.set_stream_handler(TProtocol(messages.STOP_PROTOCOL), self.handle_stop)

    async def handle_stop(self, stream: Any) -> None:
        """Let a peer in whom a relay announces; return when its connection has ended."""
        relay: bytes = stream.muxed_conn.peer_id.to_bytes()
        try:
            with trio.fail_after(STOP_TIMEOUT_S):
                data = await streams.read_varint_message(stream, messages.MAX_MESSAGE_BYTES)
            request = messages.read_stop_request(data)
            with self._place(relay, stream) as status:
                with trio.fail_after(STOP_TIMEOUT_S):
                    await streams.write(stream, messages.stop_status(status))
                if status is not messages.Status.OK:
                    await streams.close(stream)
                    return
                address = Multiaddr(f"/p2p/{stream.muxed_conn.peer_id}/p2p-circuit")
                circuit = CircuitStream(stream, _behind(stream), request.peer)
                try:
                    await serve_inbound(self._host.get_network(), circuit, address)
                finally:
                    await streams.reset(stream)
        except (streams.StreamError, messages.RelayMessageError, trio.TooSlowError):
            await streams.reset(stream)

    @contextmanager
    def _place(self, relay: bytes, stream: Any) -> Iterator[messages.Status]:
        """Give the answer to an announcement, and keep the place of its circuit, if it is one.

        The place is taken before anything waits: a relay may announce any number at once.
        """
        if not self._choice.keeps(relay) or connection_kind(stream) == "relayed":
            yield messages.Status.PERMISSION_DENIED
            return
        if self._incoming[relay] >= MAX_CIRCUITS_PER_RELAY:
            yield messages.Status.RESOURCE_LIMIT_EXCEEDED
            return
        self._incoming[relay] += 1
        try:
            yield messages.Status.OK
        finally:
            self._incoming[relay] -= 1
            if not self._incoming[relay]:
                del self._incoming[relay]


async def _close_when_idle(connection: Any, circuit: CircuitStream) -> None:
    while not connection.is_closed:
        left = circuit.used_at + IDLE_CIRCUIT_S - trio.current_time()
        if left <= 0:
            await close_connection(connection)
            return
        with trio.move_on_after(left):
            await connection.event_closed.wait()


def _behind(connection: Any) -> RelayedAddress:
    """Return what the peer counts as that is reached through the relay of a connection or stream."""
    muxed = connection.muxed_conn
    return RelayedAddress.behind(muxed.peer_id, transport_of(muxed))


def _own_addresses(texts: Sequence[str], relay: str) -> list[str]:
    """Return those of the addresses in a relay's answer that are its own and direct, without its peer id."""
    found = []
    for text in texts:
        address, _, peer = text.rpartition("/p2p/")
        try:
            endpoint = parse(address if address else text)
        except AddressError:
            continue
        if endpoint.relay is None and peer in ("", relay, text):
            found.append(str(endpoint.with_zone("")))
    return found


__all__ = ["RefusedByRelayError", "RelayClient", "RelayError", "UnreachableError"]
