"""Name servers that answer, are slow, silent, cut off, forged or full of rubbish; on loopback."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID

from spacedrive_node.actors.swarm.dial.resolver import ResolverFilesReplacedError
from spacedrive_node.actors.swarm.names import name_servers
from spacedrive_node.actors.swarm.names.name_servers import NameLookupError, NameServers, servers_in
from spacedrive_node.actors.swarm.names.resolver import DnsaddrResolver
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.to_discovery import ServerJoined, SwarmUp
from spacedrive_node.messages.to_swarm import Bootstrap
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.tests.harness.name_server import NameServer, name_server, one_port
from spacedrive_node.tests.harness.transports import listen_addresses

NAME = "_dnsaddr.boot.example"
PEER = b"\x12\x20" + bytes(32)
OTHER_PEER = b"\x12\x20" + bytes(31) + b"\x01"
TEXT = ID(PEER).to_base58()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is silent is given up soon; one that answers has to do it in this time."""
    monkeypatch.setattr(name_servers, "ANSWER_TIMEOUT_S", 2.0)


async def test_the_records_of_a_name() -> None:
    async with name_server({NAME: ["one", "two"]}) as server:
        servers = NameServers([server.address])
        assert set(await servers.texts(NAME)) == {"one", "two"}
        assert await servers.texts("_dnsaddr.nobody.example") == ()
        assert server.asked == [NAME, "_dnsaddr.nobody.example"]


async def test_an_answer_that_is_too_long_comes_over_tcp() -> None:
    texts = [f"dnsaddr=/ip4/192.0.2.1/tcp/{port}/p2p/{TEXT}" for port in range(60)]
    async with name_server({NAME: texts}) as server:
        assert set(await NameServers([server.address]).texts(NAME)) == set(texts)
        assert server.over_tcp == 1


async def test_the_next_server_is_asked_when_one_is_silent_or_fails() -> None:
    async with (
        name_server({}, lambda _query: []) as silent,
        name_server({}, lambda query: [failure(query)]) as broken,
        name_server({NAME: ["here"]}) as good,
    ):
        found = await NameServers([silent.address, broken.address, good.address]).texts(NAME)
        assert found == ("here",)


def failure(query: bytes) -> bytes:
    return query[:2] + struct.pack("!H", 0x8182) + query[4:]


def forged(query: bytes) -> list[bytes]:
    """Return what an attacker sends who does not see the query, and then the answer."""
    wrong = [bytes([query[0] ^ 1]) + query[1:]] * 10
    return [*wrong, NameServer({NAME: ["here"]}).answer(query)]


async def test_a_packet_with_another_number_does_not_end_the_wait() -> None:
    async with name_server({}, forged) as server:
        assert await NameServers([server.address]).texts(NAME) == ("here",)


HOSTILE: list[Callable[[bytes], Sequence[bytes]]] = [
    lambda _query: [],
    lambda _query: [b"", b"\xff" * 1500],
    lambda query: [query] * 100,
    lambda query: [query[:2] + b"\x81\x80" + query[4:6] + b"\xff\xff" + query[8:]],
    lambda query: [failure(query)],
    lambda query: [query[:2] + b"\x83\x80" + query[4:]],  # cut off, and TCP says that there is no such name
]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_whatever_a_server_says_it_ends_in_time(
    hostile: Callable[[bytes], Sequence[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_servers, "ANSWER_TIMEOUT_S", 0.3)
    async with name_server({}, hostile) as server:
        with trio.fail_after(60):
            try:
                assert await NameServers([server.address]).texts(NAME) == ()
            except NameLookupError:
                return


async def test_a_port_where_nothing_listens() -> None:
    with trio.fail_after(60), pytest.raises(NameLookupError):
        await NameServers(["127.0.0.1:1", "[::1]:1"]).texts(NAME)


async def test_tcp_that_promises_much_and_sends_nothing() -> None:
    async def promise(stream: trio.SocketStream) -> None:
        await stream.send_all(b"\xff\xff")
        await trio.sleep_forever()

    def cut(query: bytes) -> list[bytes]:
        return [query[:2] + b"\x83\x80" + query[4:]]

    udp, listeners = await one_port()
    with udp:
        port = udp.getsockname()[1]

        async def serve() -> None:
            while True:
                data, sender = await udp.recvfrom(4096)
                await udp.sendto(cut(data)[0], sender)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(trio.serve_listeners, promise, listeners)
            with trio.fail_after(60), pytest.raises(NameLookupError):
                await NameServers([f"127.0.0.1:{port}"]).texts(NAME)
            nursery.cancel_scope.cancel()


async def test_the_servers_of_this_host_are_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    servers = NameServers(file=file)
    with pytest.raises(NameLookupError, match="no name server"):
        await servers.texts(NAME)
    file.write_text("search example\n# nameserver 192.0.2.1\nnameserver\nnameserver x\nnameserver ::1 # a\n")
    assert servers._servers() == [("::1", 53)]
    many = "".join(f"nameserver 192.0.2.{number}\n" for number in range(1, 9))
    assert len(servers_in(many)) == name_servers.MAX_SERVERS


async def test_a_file_that_the_sandbox_does_not_know_any_more_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The laptop is in another network: the actor has to start again."""

    def refuse(*_arguments: object, **_named: object) -> Any:
        raise PermissionError

    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ResolverFilesReplacedError):
        await NameServers(file=file).texts(NAME)


def record(address: str) -> str:
    return f"dnsaddr={address}/p2p/{TEXT}"


async def test_what_a_name_leads_to_is_hearsay_and_said_once_if_it_is_nothing() -> None:
    warnings: list[tuple[str, dict[str, str]]] = []
    async with name_server({NAME: [record("/ip4/45.1.1.1/tcp/1"), record("/ip4/127.0.0.1/tcp/2")]}) as server:
        resolver = DnsaddrResolver([server.address], lambda event, fields: warnings.append((event, fields)))
        given = ("/ip4/45.2.2.2/tcp/1", "/dnsaddr/boot.example")
        found = await resolver.expand(PEER, given)
        named = {"/ip4/45.1.1.1/tcp/1", "/ip4/127.0.0.1/tcp/2"}
        assert set(found.addresses) == {"/ip4/45.2.2.2/tcp/1", *named}
        assert found.addresses[0] == "/ip4/45.2.2.2/tcp/1"
        assert set(found.hearsay) == {"/ip4/45.1.1.1/tcp/1"}  # the other is the name server's own host
        assert warnings == []
        for _time in range(3):
            assert await resolver.expand(PEER, ("/dnsaddr/nobody.example",)) == PeerAddresses(PEER)
        assert [event for event, _ in warnings] == ["a name leads to no address"]


async def test_a_name_leads_where_it_led_before_while_no_server_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that says that there is no such name is believed."""
    warnings: list[str] = []
    answers = True
    async with name_server({NAME: [record("/ip4/45.1.1.1/tcp/1")]}) as server:
        server.hostile = lambda query: [server.answer(query)] if answers else []
        resolver = DnsaddrResolver([server.address], lambda event, _fields: warnings.append(event))
        found = await resolver.expand(PEER, ("/dnsaddr/boot.example",))
        assert found.addresses == ("/ip4/45.1.1.1/tcp/1",)
        answers = False
        with monkeypatch.context() as silent:
            silent.setattr(name_servers, "ANSWER_TIMEOUT_S", 0.1)
            assert await resolver.expand(PEER, ("/dnsaddr/boot.example",)) == found
            assert (await resolver.expand(OTHER_PEER, ("/dnsaddr/boot.example",))).addresses == ()
        assert warnings == ["a name leads to no address"]
        answers = True
        del server.zone[NAME]
        assert (await resolver.expand(PEER, ("/dnsaddr/boot.example",))).addresses == ()


async def test_the_host_s_own_servers_are_not_believed_about_its_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers in their place could make this node knock at its own doors."""
    zone = {NAME: [record(f"/ip4/{ip}/tcp/1") for ip in ("127.0.0.1", "192.168.1.1", "45.1.1.1")]}
    async with name_server(zone) as server:
        host, _, port = server.address.partition(":")
        monkeypatch.setattr(name_servers, "servers_in", lambda _text: [(host, int(port))])
        resolver = DnsaddrResolver((), lambda _event, _fields: None)
        found = await resolver.expand(PEER, ("/dnsaddr/boot.example",))
        assert found == PeerAddresses(PEER, ("/ip4/45.1.1.1/tcp/1",), ("/ip4/45.1.1.1/tcp/1",))


async def test_a_bootstrap_peer_by_name(swarm: Any) -> None:
    """A swarm looks the name up and connects; while it is connected it does not look again."""
    zone: dict[str, list[str]] = {}
    async with name_server(zone) as server, swarm("server") as other:
        server.zone["_dnsaddr.boot.example"] = [f"dnsaddr=/dnsaddr/one.example/p2p/{ID(other.peer)}"]
        server.zone["_dnsaddr.one.example"] = [
            f"dnsaddr={address}/p2p/{ID(other.peer)}" for address in other.addresses
        ]
        config = SwarmConfig(listen=listen_addresses(), name_servers=(server.address,))
        async with swarm("a", config) as a:
            for _time in range(2):
                await a.deliver("discovery", Bootstrap(other.peer, ("/dnsaddr/boot.example",)))
            await a.expect(ServerJoined, "discovery", lambda m: m.server.peer == other.peer)
            asked = len(server.asked)
            await a.deliver("discovery", Bootstrap(other.peer, ("/dnsaddr/boot.example",)))
            await a.deliver("discovery", Bootstrap(PEER, ("/dnsaddr/nobody.example",)))
            await a.expect_log("a name leads to no address")
            assert server.asked[asked:] == ["_dnsaddr.nobody.example"]


async def test_a_name_server_that_is_silent_holds_up_nothing_else(swarm: Any) -> None:
    async with name_server({}, lambda _query: []) as server, swarm("server") as other:
        config = SwarmConfig(listen=listen_addresses(), name_servers=(server.address,))
        async with swarm("a", config) as a:
            for number in range(50):
                await a.deliver("discovery", Bootstrap(PEER, (f"/dnsaddr/n{number}.example",)))
            await a.deliver("discovery", Bootstrap(other.peer, other.addresses))
            await a.expect(ServerJoined, "discovery", lambda m: m.server.peer == other.peer)


async def test_a_swarm_whose_files_were_replaced_starts_again(
    swarm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sandbox does not know the new resolv.conf: the supervisor starts it anew, with the new file."""

    def replaced(_servers: NameServers) -> list[tuple[str, int]]:
        raise ResolverFilesReplacedError

    monkeypatch.setattr(NameServers, "_servers", replaced)
    async with swarm("a", SwarmConfig(listen=listen_addresses()), up=False) as a:
        await a.expect(SwarmUp)
        await a.deliver("discovery", Bootstrap(PEER, ("/dnsaddr/boot.example",)))
        with trio.fail_after(60):
            await a.gone.wait()
        assert isinstance(a.crash, ExceptionGroup)
        assert a.crash.subgroup(ResolverFilesReplacedError) is not None
