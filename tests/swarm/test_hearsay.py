"""What a third party names makes no node knock at doors that only this node reaches, and tells it no port."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio

from spacedrive_node.actors.swarm.dial import dialer, hearsay, plan
from spacedrive_node.actors.swarm.dial.addresses import parse
from spacedrive_node.messages.to_discovery import KadReply
from spacedrive_node.messages.to_session import PeerUnreachable
from spacedrive_node.messages.to_swarm import Ask, Bootstrap, KadRequest, RecalledPeers
from spacedrive_node.messages.types import PeerAddresses, RememberedPeer
from spacedrive_node.tests.harness.peer_device import kad_answer, open_device
from spacedrive_node.tests.harness.stranger_peer import REQUEST, A
from spacedrive_node.tests.harness.swarm_actors import DEADLINE

PEER = bytes.fromhex("002408011220") + b"\x07" * 32
LOOPBACK = (
    "/ip4/127.0.0.1/tcp/22",
    "/ip6/::1/tcp/22",
    "/ip6/::ffff:7f00:1/tcp/22",
    "/ip6/::7f00:1/tcp/22",
    "/ip6/64:ff9b::7f00:1/tcp/22",
    "/ip6/2002:7f00:1::/tcp/22",
)
LINK = ("/ip4/169.254.169.254/tcp/80", "/ip6/fe80::1/tcp/80", "/ip6/64:ff9b::a9fe:a9fe/tcp/80")
PRIVATE = (
    "/ip4/192.168.1.1/tcp/80",
    "/ip4/10.0.0.1/tcp/80",
    "/ip4/100.64.0.1/tcp/80",
    "/ip6/fd00::1/tcp/80",
    "/ip6/fec0::1/tcp/80",
    "/ip6/64:ff9b::a00:1/tcp/80",
    "/ip6/64:ff9b:1::a00:1/tcp/80",
)
PUBLIC = (
    "/ip4/8.8.8.8/tcp/4001",
    "/ip6/2600::1/tcp/4001",
    "/ip6/64:ff9b::808:808/tcp/4001",
    "/dns4/example.org/tcp/4001",
)
ALL = LOOPBACK + LINK + PRIVATE + PUBLIC


@pytest.mark.parametrize(
    ("source", "believed"),
    [
        ("127.0.0.1", ALL),
        ("fe80::7%eth0", LINK + PRIVATE + PUBLIC),
        ("192.168.1.7", PRIVATE + PUBLIC),
        ("9.9.9.9", PUBLIC),
        (None, PUBLIC),
    ],
)
def test_who_is_believed_about_which_network(source: str | None, believed: tuple[str, ...]) -> None:
    """A source is believed about the networks in which it was reached itself, and about public addresses."""
    assert hearsay.heard(PeerAddresses(PEER, ALL), source).addresses == believed


def test_the_host_of_the_source_is_no_hearsay() -> None:
    """Other hosts are, and names, which may lead anywhere."""
    named = PeerAddresses(PEER, ("/ip4/9.9.9.9/tcp/1", "/ip4/8.8.8.8/tcp/1", "/dns4/example.org/tcp/1"))
    heard = hearsay.heard(named, "9.9.9.9")
    assert heard.addresses == named.addresses
    assert heard.hearsay == named.addresses[1:]


async def test_a_name_that_is_hearsay_leads_to_public_addresses_only() -> None:
    """A liar cannot reach this host's loopback by a name of its own; a hint may."""
    async with trio.open_nursery() as nursery:
        one = dialer.Dialer(None, PEER, nursery)
        target = parse("/dns4/localhost/tcp/22")
        assert await one._resolve(target, is_hearsay=True) == []
        assert [str(found) for found in await one._resolve(target)] == ["/ip4/127.0.0.1/tcp/22"]


async def test_what_a_dht_server_names_is_marked(swarm: Any) -> None:
    """A server on loopback is of this host; another host that it names is hearsay."""
    other = PeerAddresses(PEER, ("/ip4/127.0.0.1/tcp/9", "/ip4/127.0.0.2/tcp/9"))
    async with swarm("a") as a, open_device() as server:
        server.serve_dht(lambda _request: kad_answer([other], [other]))
        await a.deliver(
            "discovery", KadRequest(1, server.peer, server.addresses, "get_providers", b"k" * 34, 10.0)
        )
        reply = await a.expect(KadReply)
        marked = PeerAddresses(PEER, other.addresses, other.addresses[1:])
        assert (reply.closer, reply.providers) == ((marked,), (marked,))


async def test_the_time_of_the_next_dial_does_not_tell_a_closed_port(
    swarm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After hearsay that fails at once the next dial waits as long as for a port that does not answer."""
    dialled: list[float] = []
    dial = dialer.Dialer._dial

    async def watched(*arguments: Any) -> Any:
        dialled.append(trio.current_time())
        return await dial(*arguments)

    monkeypatch.setattr(dialer.Dialer, "_dial", watched)
    closed = tuple(f"/ip4/127.0.0.2/tcp/{port}" for port in (1, 2, 3))
    async with swarm("a") as a:
        await a.deliver(A, Ask(1, PEER, closed, REQUEST, 10.0, closed))
        await a.expect(PeerUnreachable, A)
        assert len(dialled) == 3
        assert all(later - earlier >= dialer.STAGGER_S for earlier, later in pairwise(dialled))
        del dialled[:]
        monkeypatch.setattr(plan, "STAGGER_S", 2 * DEADLINE)
        await a.deliver(A, Ask(2, PEER, closed, REQUEST, 2 * DEADLINE))
        await a.expect(PeerUnreachable, A, lambda m: m.request == 2)
        assert len(dialled) == 3


@pytest.mark.parametrize("port", ["closed", "silent", "rejecting", "two rejecting"])
async def test_the_end_of_the_dials_does_not_tell_a_closed_port(
    swarm: Any, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """A request to hearsay alone fails after a fixed time, whatever is there, and never before."""
    monkeypatch.setattr(plan, "HEARSAY_TIMEOUT_S", 0.6)
    monkeypatch.setattr(plan, "DIAL_TIMEOUT_S", 2 * DEADLINE)
    said = b"" if port == "silent" else b"no\r\n" * 8
    async with trio.open_nursery() as nursery, swarm("a") as a:

        async def serve(stream: trio.SocketStream) -> None:
            await stream.send_all(said)
            await trio.sleep_forever()

        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.2"))
        number = 1 if port == "closed" else listeners[0].socket.getsockname()[1]
        named = tuple(
            f"/ip4/127.0.0.2/tcp/{one}" for one in ((number, 1) if port[:3] == "two" else (number,))
        )
        began = trio.current_time()
        await a.deliver(A, Ask(1, PEER, named, REQUEST, 2 * DEADLINE, named))
        await a.expect(PeerUnreachable, A)
        assert trio.current_time() - began >= 0.6 + (len(named) - 1) * plan.STAGGER_S
        nursery.cancel_scope.cancel()


def test_a_zone_of_others_is_left_out() -> None:
    """It names an interface of whoever says it."""
    named = PeerAddresses(PEER, ("/ip6zone/eth0/ip6/fe80::9/tcp/1",))
    assert hearsay.heard(named, "fe80::7%eth0").addresses == ("/ip6/fe80::9/tcp/1",)
    assert hearsay.heard(named, "9.9.9.9").addresses == ()


def test_what_is_remembered_is_hearsay_unless_it_is_public() -> None:
    """Whoever was reached at 192.168.1.1 in a café may have chosen that to learn what is there at home."""
    public = ("/ip4/45.1.1.1/tcp/1", "/ip6/2600::1/udp/1/quic-v1")
    chosen = (
        "/ip4/192.168.1.1/tcp/80",
        "/ip4/127.0.0.1/tcp/22",
        "/ip6/fe80::1/tcp/1",
        "/dns4/a.example/tcp/1",
    )
    found = hearsay.remembered(PEER, (*chosen, *public, "nonsense"))
    assert found == PeerAddresses(PEER, (*chosen, *public), chosen)


async def test_a_remembered_relay_is_dialled_at_the_pace_of_hearsay(
    swarm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was reached in another network may be anything in this one; public addresses are the same."""
    dialled: dict[str, bool] = {}
    both = trio.Event()

    async def dial(_dialer: Any, _peer: bytes, target: plan.Target) -> None:
        dialled[str(target.endpoint)] = target.is_hearsay
        if len(dialled) == 2:
            both.set()

    monkeypatch.setattr(dialer.Dialer, "_dial", dial)
    here, public = "/ip4/192.168.1.1/tcp/80", "/ip4/45.1.1.1/tcp/1"
    async with swarm("a") as a:
        await a.deliver("vault", RecalledPeers((RememberedPeer("relay", PEER, (here, public)),)))
        with trio.fail_after(DEADLINE):
            await both.wait()
    assert dialled == {here: True, public: False}


async def test_a_remembered_server_is_dialled_at_the_pace_of_hearsay(
    swarm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[tuple[Sequence[str], Sequence[str]]] = []

    async def connect(_dialer: Any, _peer: bytes, texts: Sequence[str], hearsay: Sequence[str] = ()) -> Any:
        dialled.append((texts, hearsay))
        raise dialer.UnreachableError("a test")

    monkeypatch.setattr(dialer.Dialer, "connect", connect)
    async with swarm("a") as a:
        await a.deliver("discovery", Bootstrap(PEER, ("/ip4/127.0.0.1/tcp/1",), remembered=True))
        await a.deliver("discovery", Bootstrap(PEER, ("/ip4/127.0.0.1/tcp/1",)))
        with trio.fail_after(60):
            while len(dialled) < 2:
                await trio.lowlevel.checkpoint()
    here = ("/ip4/127.0.0.1/tcp/1",)
    assert sorted(dialled) == [(here, ()), (here, here)]
