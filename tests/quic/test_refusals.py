"""A dial to a port where nobody listens, or to where no way leads, fails at once; others do not notice it."""

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from spacedrive_node.actors.swarm.dial import plan
from spacedrive_node.actors.swarm.dial.dialer import Dialer, UnreachableError
from spacedrive_node.actors.swarm.library.connections import transport_of
from spacedrive_node.actors.swarm.quic import connection, refusals
from spacedrive_node.actors.swarm.quic.connection import QuicConnection
from spacedrive_node.actors.swarm.quic.refusals import Refusal
from spacedrive_node.actors.swarm.quic.wire import QuicError
from spacedrive_node.tests.harness.library_hosts import our_host, running
from spacedrive_node.tests.harness.quic_endpoints import DEADLINE, Peer, connected, identity, peer_of, peers


@pytest.fixture(autouse=True)
def slow_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No dial ends here because its time is over, within the deadlines."""
    monkeypatch.setattr(connection, "HANDSHAKE_TIMEOUT_S", 10 * DEADLINE)


@contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[tuple[object, ...]]:
    """An address where nobody listens, and nobody will: it is bound and closed for each packet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind((host, 0))
        address = taken.getsockname()
        taken.connect(address)  # it takes packets from itself alone, and the kernel refuses all others
        yield address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_closed_port_ends_a_dial_at_once(host: str) -> None:
    a = Peer("a", identity("a"))
    async with trio.open_nursery() as nursery:
        a.endpoint.open(host, 0, nursery)
        with (
            closed_port(host) as address,
            trio.fail_after(DEADLINE),
            pytest.raises(QuicError, match="nobody listens there"),
        ):
            await a.endpoint.dial(address, peer_of("b"))
        assert not a.endpoint.connections
        a.endpoint.close()
        nursery.cancel_scope.cancel()


async def test_where_no_way_leads_a_dial_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host without that IP version: here from loopback to elsewhere."""
    async with peers("a") as (a,):
        with trio.fail_after(DEADLINE), pytest.raises(QuicError, match="no way there"):
            await a.endpoint.dial(("192.0.2.1", 9), peer_of("b"))


async def test_other_connections_do_not_notice() -> None:
    """They share the socket; its error queue is empty again, so that nothing waits for it in vain."""
    async with peers("a", "b") as (a, b):
        one, other = await connected(a, b)
        for _ in range(20):
            with closed_port() as address, pytest.raises(QuicError):
                await a.endpoint.dial(address, peer_of("b"))
        stream = await one.open_stream()
        await stream.write(b"hello")
        assert await (await other.accept_stream()).read(5) == b"hello"
        assert a.endpoint._socket is not None
        poll = select.poll()
        poll.register(a.endpoint._socket, 0)  # POLLERR is always told
        assert poll.poll(0) == []
        assert not one.is_closed


@pytest.mark.parametrize("forged", [b"", b"\xc0", bytes(1200), b"\xc0\0\0\0\1\x08guessed!\0" + bytes(1200)])
async def test_who_does_not_know_the_packet_ends_no_dial(
    monkeypatch: pytest.MonkeyPatch, forged: bytes
) -> None:
    """Whoever forges a message of ICMP knows the addresses; not the connection id, which is random."""
    dials: list[QuicConnection] = []
    async with peers("a") as (a,):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            address = silent.getsockname()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.endpoint.dial, address, peer_of("b"))
                await trio.testing.wait_all_tasks_blocked()
                dials += a.endpoint.connections
                monkeypatch.setattr(refusals, "take", lambda _sock: [Refusal(address, forged)])
                assert a.endpoint._socket is not None
                a.endpoint._end_refused(a.endpoint._socket)
                assert not dials[0].is_closed
                genuine = silent.recv(2048)
                monkeypatch.setattr(refusals, "take", lambda _sock: [Refusal(address, genuine)])
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_hearsay", [False, True])
async def test_the_next_address_follows_at_once_unless_a_third_party_named_it(
    is_hearsay: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it would see by the time of the next dial that the port is closed: it keeps its stagger."""
    for bound in () if is_hearsay else ("STAGGER_S", "DIAL_TIMEOUT_S", "HEARSAY_TIMEOUT_S"):
        monkeypatch.setattr(plan, bound, 10 * DEADLINE)
    client, server = our_host(1, quic=True), our_host(2)
    async with running(server, client) as (tcp, _own), trio.open_nursery() as nursery:
        dialler = Dialer(
            client.get_network(), client.get_id().to_bytes(), nursery, transports=("tcp", "quic")
        )
        peer = server.get_id().to_bytes()
        with closed_port() as (host, port), trio.fail_after(DEADLINE):
            closed = f"/ip4/{host}/udp/{port}/quic-v1"
            began = trio.current_time()
            made = await dialler.connect(peer, [closed, str(tcp)], [closed] if is_hearsay else [])
            took = trio.current_time() - began
            assert transport_of(made.muxed_conn) == "tcp"
            assert took >= plan.STAGGER_S or not is_hearsay
            await dialler.drop_peer(peer)
            began = trio.current_time()
            with pytest.raises(UnreachableError):
                await dialler.connect(peer, [closed], [closed] if is_hearsay else [])
            assert trio.current_time() - began >= plan.HEARSAY_TIMEOUT_S or not is_hearsay
        nursery.cancel_scope.cancel()
