"""TCP over IPv6 in the library: the defect, and its absence with the correction.

A test whose first half fails shows that the library no longer needs that correction: remove it. Link-local
addresses are dialled and listened on in tests/node/test_ip_versions.py, in network namespaces.
"""

import socket

import libp2p.transport.tcp.tcp as library_tcp
import pytest
import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library import tcp_sockets
from spacedrive_node.tests.harness.library_hosts import our_host, running


@pytest.fixture(autouse=True)
def put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corrections are process-wide; each test begins with the library as it is."""
    for name, original in (
        ("_set_reuse_flags", tcp_sockets._set_reuse_flags),
        ("extract_ip_from_multiaddr", tcp_sockets._extract_ip),
        ("_multiaddr_from_socket", library_tcp._multiaddr_from_socket),
    ):
        monkeypatch.setattr(library_tcp, name, original)


@pytest.mark.parametrize("corrected", [False, True])
async def test_a_listener_of_ip6_takes_no_ip4(corrected: bool) -> None:
    """By default it does, if the system allows it, and takes the port from IPv4."""
    if corrected:
        tcp_sockets.use_ip6_only_listeners()
    (listener,) = await library_tcp._open_reuseport_listeners("::", 0)
    async with listener:
        port = listener.socket.getsockname()[1]
        only = listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        if corrected:
            assert only
            with pytest.raises(OSError, match=r"127\.0\.0\.1"):
                await trio.open_tcp_stream("127.0.0.1", port)
            (other,) = await library_tcp._open_reuseport_listeners("0.0.0.0", port)
            await other.aclose()
        async with await trio.open_tcp_stream("::1", port):
            pass


@pytest.mark.parametrize("corrected", [False, True])
def test_a_zone_is_read(corrected: bool) -> None:
    """By default there is none."""
    if corrected:
        tcp_sockets.use_zones()
    address = tcp_sockets.with_zone("/ip6/fe80::1/tcp/1", "7")
    assert library_tcp.extract_ip_from_multiaddr(address) == ("fe80::1%7" if corrected else "fe80::1")
    plain = Multiaddr("/ip6/2001:db8::1/tcp/1")
    assert library_tcp.extract_ip_from_multiaddr(plain) == "2001:db8::1"
    assert (
        library_tcp.extract_ip_from_multiaddr(tcp_sockets.with_zone("/ip4/192.0.2.1/tcp/1", ""))
        == "192.0.2.1"
    )


async def test_a_connection_leaves_from_the_port_that_is_listened_on() -> None:
    """And where it cannot, that is said instead of another port taken."""
    async with running(our_host(1), our_host(2)) as (own, other):
        port = int(own.value_for_protocol("tcp"))
        target = ("127.0.0.1", int(other.value_for_protocol("tcp")))
        made = await tcp_sockets.connect_from(("127.0.0.1", port), target)
        assert made.socket.getsockname() == ("127.0.0.1", port)
        assert made.socket.getpeername() == target
        with pytest.raises(OSError, match=r"."):
            await tcp_sockets.connect_from(("127.0.0.1", port), target)  # the same four numbers again
        await made.aclose()
