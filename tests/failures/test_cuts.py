"""The connection lost at every message of a pairing and dialled again: both devices are paired, once.

Each node is reached through a relay. When a message is about to leave a session, or has just reached one,
every connection of both nodes is cut: over TCP reset, or closed as if the other side had gone; over QUIC so
that a NAT has forgotten its address, or so that nothing of it arrives any more; over WebRTC the latter.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio

from spacedrive_node.tests.harness.faults.failure_points import EXCHANGES, FailurePoint
from spacedrive_node.tests.harness.faults.fault_injector import (
    FaultInjector,
    InjectedPair,
    open_relayed_pair,
)
from spacedrive_node.tests.harness.faults.message_tap import Sighting
from spacedrive_node.tests.harness.faults.relays import RELAYED_TRANSPORTS, RelayedTransport, relay_of
from spacedrive_node.tests.harness.faults.udp_relay import UdpRelay

WHOLE = bool(os.environ.get("FAILURES"))
"""Whether the slow faults strike at every message too (make failures), or at two of them each."""
pytestmark = pytest.mark.timeout(3600 if WHOLE else 600)


def at_once(host: FaultInjector, at: FailurePoint, fault: Callable[[], None]) -> list[Sighting]:
    """Do it at that moment of a session, once; the list will hold the moment."""
    done: list[Sighting] = []

    async def on_sighting(sighting: Sighting) -> None:
        if not done and sighting[1:] == (at.event, at.name, at.number):
            done.append(sighting)
            fault()

    host.on_sighting = on_sighting
    return done


async def pair_with_fault(roles: InjectedPair, point: FailurePoint, fault: Callable[[], None]) -> None:
    done = at_once(roles.hosts[point.side == "joiner"], point, fault)
    await roles.pair(first=int(point.accepting[:1] == ("joiner",)))
    assert done, f"it never came to: {point}"


async def cut_at(
    folder: Path, transport: RelayedTransport, points: Sequence[FailurePoint], *, reset: bool, swapped: bool
) -> None:
    """One cut in each pairing. `swapped`: the initiator, not the joiner, has dialled the first connection."""
    relays = [relay_of(transport), relay_of(transport)]
    async with open_relayed_pair(folder, transport, relays) as pair:
        roles = pair.swapped() if swapped else pair
        for point in points:
            cut: list[int] = []

            def fault(cut: list[int] = cut) -> None:
                cut.extend(relay.cut(reset=reset) for relay in relays)

            await pair_with_fault(roles, point, fault)
            assert sum(cut), f"nothing was cut: {point}"


@pytest.mark.parametrize(
    ("reset", "swapped"), [(True, False), (False, True)], ids=["reset", "closed, the initiator has dialled"]
)
async def test_the_connection_is_cut_at_every_message(tmp_path: Path, reset: bool, swapped: bool) -> None:
    await cut_at(tmp_path, "tcp", EXCHANGES, reset=reset, swapped=swapped)


async def test_a_nat_forgets_the_address_at_every_message(tmp_path: Path) -> None:
    """Of whoever has dialled: it goes on from another port, and nobody waits for a time-out."""
    await cut_at(tmp_path, "quic", EXCHANGES, reset=True, swapped=False)


async def dead_without_a_sign(
    folder: Path, points: Sequence[FailurePoint], *, swapped: bool, transport: RelayedTransport = "quic"
) -> None:
    """Whoever waits for an answer gives up after the time of an exchange, and dials again."""
    await cut_at(folder, transport, points, reset=False, swapped=swapped)


async def lost_or_late(
    folder: Path,
    points: Sequence[FailurePoint],
    strike: Callable[[UdpRelay], None],
    transport: RelayedTransport = "quic",
) -> None:
    """For three seconds, at both nodes."""
    relays = [relay for relay in (relay_of(transport), relay_of(transport)) if isinstance(relay, UdpRelay)]
    async with open_relayed_pair(folder, transport, relays) as pair, trio.open_nursery() as nursery:

        async def disturb() -> None:
            for relay in relays:
                strike(relay)
            await trio.sleep(3)  # this is the failure, not a wait for anything
            for relay in relays:
                relay.resume()

        for point in points:
            await pair_with_fault(pair, point, lambda: nursery.start_soon(disturb))


SLOW_FAULTS: dict[str, Callable[[Path, Sequence[FailurePoint]], Awaitable[None]]] = {
    "dead, the joiner has dialled": partial(dead_without_a_sign, swapped=False),
    "dead, the initiator has dialled": partial(dead_without_a_sign, swapped=True),
    "lost to the node": partial(lost_or_late, strike=lambda relay: relay.silence(("in",))),
    "lost from the node": partial(lost_or_late, strike=lambda relay: relay.silence(("out",))),
    "late": partial(lost_or_late, strike=lambda relay: relay.hold()),
}
if "webrtc" in RELAYED_TRANSPORTS:
    SLOW_FAULTS |= {
        "WebRTC: dead, the joiner has dialled": partial(
            dead_without_a_sign, swapped=False, transport="webrtc"
        ),
        "WebRTC: dead, the initiator has dialled": partial(
            dead_without_a_sign, swapped=True, transport="webrtc"
        ),
        "WebRTC: lost": partial(lost_or_late, strike=lambda relay: relay.silence(), transport="webrtc"),
        "WebRTC: late": partial(lost_or_late, strike=lambda relay: relay.hold(), transport="webrtc"),
    }


async def test_datagrams_are_lost_or_late(tmp_path: Path) -> None:
    """Each fault on a pair of nodes of its own, all at once, because they mostly wait."""
    async with trio.open_nursery() as nursery:
        for number, fault in enumerate(SLOW_FAULTS.values()):
            folder = tmp_path / str(number)
            folder.mkdir()
            points = EXCHANGES if WHOLE else EXCHANGES[number :: len(EXCHANGES) // 2]
            nursery.start_soon(fault, folder, points)


def _socket() -> trio.socket.SocketType:
    return trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)


async def bound(socket: trio.socket.SocketType) -> str:
    """Bind a socket; return its multiaddr."""
    await socket.bind(("127.0.0.1", 0))
    return f"/ip4/127.0.0.1/udp/{socket.getsockname()[1]}/quic-v1"


async def test_a_relay_does_what_it_says() -> None:
    """Otherwise these tests would prove nothing: lost in one direction, late, forgotten, dead."""
    async with trio.open_nursery() as nursery:
        relay = UdpRelay()
        port = await nursery.start(relay.serve)
        with _socket() as node, _socket() as client:
            relay.set_target(await bound(node))
            await bound(client)

            async def carried(data: bytes, seconds: float = 5.0) -> bool:
                await client.sendto(data, ("127.0.0.1", port))
                with trio.move_on_after(seconds):
                    heard, where = await node.recvfrom(2000)
                    seen.append(where)
                    await node.sendto(heard, where)
                    answer, _ = await client.recvfrom(2000)
                    return answer == data
                return False

            seen: list[tuple[str, int]] = []
            old, new = (b"\x40" + letter * 8 + b"data" for letter in (b"o", b"n"))
            assert await carried(old)
            relay.silence(("in",))
            assert not await carried(old, 0.3)
            assert len(seen) == 1
            relay.silence(("out",))
            assert not await carried(old, 0.3)
            assert len(seen) == 2
            relay.resume()
            relay.hold()
            assert not await carried(b"\x40late", 0.3)
            relay.resume()
            with trio.fail_after(60):
                assert (await node.recvfrom(2000))[0] == b"\x40late"
            assert relay.cut(reset=True) == 1
            assert await carried(old)
            assert len(set(seen)) == 2
            relay.cut(reset=False)
            assert not await carried(old, 0.3)
            assert await carried(new)
        nursery.cancel_scope.cancel()
