"""Where a node listens: IPv4 and IPv6 with one port, hosts that lack one of them, and after a restart."""

import errno
import socket
from typing import Any

import pytest

from spacedrive_node.actors.swarm import listening
from spacedrive_node.actors.swarm.library import host_lifecycle
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import PairingDecision, Refused, decode_wire
from spacedrive_node.messages.to_session import PeerAnswer
from spacedrive_node.messages.to_swarm import Ask, Listening

ANYWHERE = ("/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0")
DEFAULT = SwarmConfig(listen=ANYWHERE, default_port=True)
B = "session-" + "b" * 16


def ports(texts: tuple[str, ...]) -> set[str]:
    return {text.split("/")[4] for text in texts}


def no_such_family(monkeypatch: pytest.MonkeyPatch, *families: int) -> None:
    """Make this host one whose kernel does not know these."""

    class Socket(socket.socket):
        def __init__(self, family: int, *arguments: Any) -> None:
            if family in families:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments)

    monkeypatch.setattr(host_lifecycle.socket, "socket", Socket)


async def test_both_with_one_port_and_the_same_again_after_a_restart(swarm: Any) -> None:
    """Any free port will do, and then it stays; loopback of both reaches it."""
    frame = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
    async with swarm("a", DEFAULT) as a:
        first = await a.expect(Listening, "swarm")
        assert len(ports(first.addresses)) == 1
        assert [text.split("/")[2] for text in a.up.local_addresses] == ["127.0.0.1", "::1"]
    async with swarm("a", DEFAULT, standing=(("swarm", first),), incarnation=2) as again:
        assert (await again.expect(Listening, "swarm")) == first
        for address in again.up.local_addresses:
            async with swarm("b") as b:
                await b.deliver(B, Ask(1, again.peer, (address,), frame))
                assert isinstance(decode_wire((await b.expect(PeerAnswer)).frame), Refused)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_port_that_is_taken_for_one_is_taken_for_both(swarm: Any, family: int) -> None:
    """A program that listens on one of them moves the node to another port, the same on both."""
    with socket.socket(family) as held:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        held.listen()
        port = held.getsockname()[1]
        listen = tuple(text.replace("/0.0.0.0/tcp/0", f"/127.0.0.1/tcp/{port}") for text in ANYWHERE)
        listen = tuple(text.replace("/::/tcp/0", f"/::1/tcp/{port}") for text in listen)
        async with swarm("a", SwarmConfig(listen=listen, default_port=True)) as a:
            (other,) = ports((await a.expect(Listening, "swarm")).addresses)
            assert other != str(port)
            (log,) = a.logs
            assert (log.event, log.fields) == ("port taken", {"wanted": port, "instead": other})


async def test_a_port_that_is_taken_at_the_last_moment(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the listener: the other IP version gets a port of its own, and nothing is left."""
    bind, taken = listening._bind, list[str]()

    async def taken_once(host: Any, endpoint: Any) -> Any:
        if endpoint.family == "ip6" and not taken:
            taken.append(str(endpoint.port))
            raise host_lifecycle.AddressTakenError(errno.EADDRINUSE, "another program listens there")
        return await bind(host, endpoint)

    monkeypatch.setattr(listening, "_bind", taken_once)
    async with swarm("a", DEFAULT) as a:
        four, six = [text.split("/")[4] for text in (await a.expect(Listening, "swarm")).addresses]
        assert four == taken[0] != six


@pytest.mark.parametrize(
    ("family", "missing", "left"),
    [(socket.AF_INET, "IPv4", "ip6"), (socket.AF_INET6, "IPv6", "ip4")],
)
@pytest.mark.parametrize("default_port", [False, True])
async def test_a_host_without_one_of_them(
    swarm: Any, monkeypatch: pytest.MonkeyPatch, family: int, missing: str, left: str, default_port: bool
) -> None:
    """It starts with the other, and says which is missing; its addresses are the other's."""
    no_such_family(monkeypatch, family)
    async with swarm("a", SwarmConfig(listen=ANYWHERE, default_port=default_port)) as a:
        (only,) = (await a.expect(Listening, "swarm")).addresses
        assert only.split("/")[1] == left
        assert ("IP version missing", {"version": missing}) in [(log.event, log.fields) for log in a.logs]
        assert {text.split("/")[1] for text in a.addresses} <= {left}


async def test_a_host_with_neither(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to start for."""
    no_such_family(monkeypatch, socket.AF_INET, socket.AF_INET6)
    async with swarm("a", DEFAULT, up=False) as a:
        await a.gone.wait()
        assert a.fatal == "cannot listen: this host has neither IPv4 nor IPv6"


async def test_a_family_that_was_asked_for_by_itself(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would be left, so it is an error."""
    no_such_family(monkeypatch, socket.AF_INET6)
    async with swarm("a", SwarmConfig(listen=("/ip6/::1/tcp/0",)), up=False) as a:
        await a.gone.wait()
        assert a.fatal.startswith("cannot listen on /ip6/::1/tcp/0: Address family not supported")
