"""Relays that held what they promised are told to the vault, and asked first when the node comes back."""

import msgspec
import pytest

from spacedrive_node.actors.swarm.relay import client, relay_choice
from spacedrive_node.actors.swarm.relay.relay_choice import REFUSED_PAUSE_S, RelayChoice
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_swarm import RecalledPeers
from spacedrive_node.messages.to_vault import PeersBehaved
from spacedrive_node.messages.types import PeerAddresses, RememberedPeer
from spacedrive_node.tests.harness.swarm_actors import local, open_swarm


def relay(number: int) -> PeerAddresses:
    return PeerAddresses(number.to_bytes(34, "big"), (f"/ip4/45.0.{number}.1/tcp/1",))


async def test_a_relay_that_holds_is_told_of_and_one_that_was_told_of_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node that comes back knows no server and no relay but the vault's."""
    monkeypatch.setattr(client, "PING_INTERVAL_S", 0.1)
    monkeypatch.setattr(relay_choice, "STEADY_S", 0.3)
    async with open_swarm("relay", msgspec.structs.replace(local(), relay_service=True)) as serving:
        named = PeerAddresses(serving.peer, serving.addresses)
        async with open_swarm("before", msgspec.structs.replace(local(), relays=(named,))) as before:
            told = await before.expect(
                PeersBehaved, "vault", lambda m: any(one.kind == "relay" for one in m.reports)
            )
            (report,) = [one for one in told.reports if one.kind == "relay"]
            assert (report.peer, report.dropped, report.lied) == (serving.peer, 0, 0)
            assert report.addresses == serving.addresses[:1]
        async with open_swarm("after") as after:
            recalled = RememberedPeer("relay", report.peer, report.addresses)
            await after.deliver("vault", RecalledPeers((recalled,)))
            await after.expect(
                SwarmUp, "discovery", lambda one: any("p2p-circuit" in text for text in one.addresses)
            )


def test_a_remembered_relay_is_asked_before_one_that_was_found() -> None:
    choice = RelayChoice([])
    choice.wants_found = True
    for number in range(1, 4):
        choice.found(relay(number), f"45.0.{number}.0/24")
    for number in (8, 9):
        choice.remembered(relay(number), f"45.0.{number}.0/24")
    assert [one.peer for one in choice.poll(0.0)] == [relay(8).peer, relay(9).peer]
    choice.refused(relay(8).peer, 0.0, for_long=True)
    assert [one.peer for one in choice.poll(1.0)] == [relay(1).peer]
    choice.refused(relay(1).peer, 1.0, for_long=True)
    assert [one.peer for one in choice.poll(2.0)] == [relay(2).peer]
    choice.refused(relay(2).peer, 2.0, for_long=True)
    choice.refused(relay(9).peer, 2.0, for_long=True)
    assert relay(8).peer in [one.peer for one in choice.poll(2.0 + REFUSED_PAUSE_S)]
