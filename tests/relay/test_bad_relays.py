"""Relays that turn bad when a pairing runs over them: the other relay is used, within two exchanges.

Two swarm actors, and two relays at both of which one of them can be reached. The bad one relays well first.
Then it lets handshakes pass, so that circuits through it stand, and nothing after them.
"""

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import msgspec
import pytest
import trio

from spacedrive_node.actors.swarm.relay.service import RelayService
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import Challenge, PairingRequest
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_session import PeerAnswer, PeerRequest, PeerUnreachable
from spacedrive_node.messages.to_swarm import Ask, PeerReply, Serve
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.code import code_id
from spacedrive_node.tests.harness.relay_hosts import DEADLINE, Party, RelayHosts, relay_hosts
from spacedrive_node.tests.harness.swarm_actors import FakeSupervisor, local, open_swarm

ROUTE_KEY = b"r" * 32
A, B = "session-" + "a" * 16, "session-" + "b" * 16
EXCHANGE_TIMEOUT_S = 5.0
HANDSHAKE_BYTES = 700
"""In each direction: Noise, Yamux and the beginning of identify; less than with a whole exchange."""


class Spoiling(RelayService):
    """Relays well until `is_bad`; then only what a handshake takes."""

    is_bad: ClassVar[bool] = False
    circuits_spoiled: ClassVar[int] = 0

    async def _carry(self, circuit: Any, over: Any, one: Any, other: Any) -> str:
        async with trio.open_nursery() as nursery:
            for source, sink in ((one, other), (other, one)):
                nursery.start_soon(self._one_way, source, sink)
        return "closed"

    async def _one_way(self, source: Any, sink: Any) -> None:
        passed = 0
        try:
            while data := await source.read(4096):
                passed += len(data)
                if not type(self).is_bad or passed <= HANDSHAKE_BYTES:
                    await sink.write(data)
                else:
                    type(self).circuits_spoiled += 1
                    await self.spoil(data, source, sink)
        except Exception:  # whatever the library raises for "gone"
            return

    async def spoil(self, data: bytes, source: Any, sink: Any) -> None:
        """Drop it."""


class Delaying(Spoiling):
    """Holds it back, and the circuit open."""

    async def spoil(self, data: bytes, source: Any, sink: Any) -> None:
        await trio.sleep_forever()


class Garbling(Spoiling):
    """Changes it."""

    async def spoil(self, data: bytes, source: Any, sink: Any) -> None:
        await sink.write(bytes(byte ^ 0xFF for byte in data))


class Cutting(Spoiling):
    """Ends the circuit."""

    async def spoil(self, data: bytes, source: Any, sink: Any) -> None:
        await source.reset()
        await sink.reset()


@pytest.fixture
async def hosts() -> AsyncIterator[RelayHosts]:
    async with relay_hosts() as made:
        with trio.fail_after(2 * DEADLINE):
            yield made


@pytest.mark.parametrize("kind", [Spoiling, Delaying, Garbling, Cutting])
async def test_an_exchange_leaves_a_relay_that_turns_bad(hosts: RelayHosts, kind: type[Spoiling]) -> None:
    """Though circuits through it stand, and may stand sooner than those through the other one."""
    kind.is_bad, kind.circuits_spoiled = False, 0
    bad, good = await hosts.relay(kind=kind), await hosts.relay()
    relays = (PeerAddresses(bad.peer, (bad.address,)), PeerAddresses(good.peer, (good.address,)))
    async with (
        open_swarm("a", msgspec.structs.replace(local(), relays=relays)) as a,
        open_swarm("b") as b,
        trio.open_nursery() as answering,
    ):
        up = await a.expect(SwarmUp, "discovery", lambda one: len(circuits(one, bad, good)) == 2)
        through_bad, through_good = circuits(up, bad, good)
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        answering.start_soon(answer_all, a)
        assert await ask(b, a.peer, (through_bad,)) == 1
        kind.is_bad = True
        assert await ask(b, a.peer, (through_bad, through_good)) <= 2
        assert kind.circuits_spoiled
        answering.cancel_scope.cancel()


def circuits(up: SwarmUp, *relays: Party) -> list[str]:
    """Return an address through each of the relays that a node announces, if there is one."""
    return [
        one for relay in relays for one in up.addresses if one.startswith(relay.address) and "circuit" in one
    ]


async def answer_all(a: FakeSupervisor) -> None:
    """Answer each request as a session does."""
    while True:
        request = await a.expect(PeerRequest, A)
        name = code_id(ROUTE_KEY, a.peer, request.peer)
        await a.deliver(
            A, PeerReply(request.request, encode(Challenge(name, b"t" * 16, b"e" * 32, b"n" * 32, b"p" * 32)))
        )


async def ask(b: FakeSupervisor, peer: bytes, addresses: tuple[str, ...]) -> int:
    """Send a request again and again until it is answered, as a session does; return how often."""
    frame = encode(PairingRequest(2, code_id(ROUTE_KEY, peer, b.peer), b"t" * 16, b"e" * 32, b"c" * 32))
    for count in range(1, 9):
        await b.deliver(B, Ask(count, peer, addresses, frame, EXCHANGE_TIMEOUT_S))
        answer = await b.expect((PeerAnswer, PeerUnreachable), B)  # type: ignore[arg-type]
        if isinstance(answer, PeerAnswer):
            return count
    raise AssertionError("no answer")
