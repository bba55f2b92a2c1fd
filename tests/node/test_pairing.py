"""Whole nodes pair: two devices, many at once, again, after a restart."""

from collections import Counter
from pathlib import Path

import trio

from spacedrive_node.tests.harness.nodes import DEADLINE, pair, running_node, two_nodes


async def test_two_nodes_pair_over_a_real_lookup_and_know_each_other_after_a_restart(tmp_path: Path) -> None:
    """Both list the other, with the same fingerprint; identity and devices survive a restart of both."""
    async with two_nodes(tmp_path) as (a, b):
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert result.initiator.path == result.joiner.path == "direct"
        assert result.initiator.transport == result.joiner.transport
        before = [await node.client.devices() for node in (a, b)]
        peers = [node.ready.peer for node in (a, b)]
        assert [[d.name for d in devices] for devices in before] == [["bruno"], ["anna"]]
        assert [devices[0].peer for devices in before] == peers[::-1]
        assert {devices[0].fingerprint for devices in before} == {result.joiner.fingerprint}
        assert {devices[0].state for devices in before} == {"paired"}
    async with two_nodes(tmp_path) as (a, b):
        assert [await node.client.devices() for node in (a, b)] == before
        assert [node.ready.peer for node in (a, b)] == peers


async def test_pairing_again_keeps_one_entry_with_the_new_secret(tmp_path: Path) -> None:
    """The second pairing replaces the first on both sides, in either role."""
    async with two_nodes(tmp_path) as (a, b):
        first = await pair(a, b)
        second = await pair(b, a)
        assert first.joiner.fingerprint != second.joiner.fingerprint
        for node in (a, b):
            devices = await node.client.devices()
            assert [d.fingerprint for d in devices] == [second.joiner.fingerprint]


async def test_fifty_pairings_at_once_in_mixed_roles(tmp_path: Path) -> None:
    """All are paired with equal fingerprints, pairwise different; no session or process is left over."""
    results = []
    async with two_nodes(tmp_path) as (a, b):

        async def one(number: int) -> None:
            results.append(await pair(*((a, b) if number % 2 else (b, a))))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
        assert len(results) == 50
        assert all(r.initiator.fingerprint == r.joiner.fingerprint for r in results)
        assert len({r.initiator.fingerprint for r in results}) == 50
        for node, other in ((a, "bruno"), (b, "anna")):
            devices = await node.client.devices()
            assert [(d.name, d.state) for d in devices] == [(other, "paired")]
            await _only_singletons_are_left(node.client)
            assert (await node.client.status()).sessions_active == 0
            assert [line for line in node.logs if line[1] == "error"] == []
        (one_side,), (other_side,) = [await node.client.devices() for node in (a, b)]
        assert one_side.fingerprint == other_side.fingerprint


async def _only_singletons_are_left(client: object) -> None:
    with trio.fail_after(DEADLINE):
        while True:
            kinds = Counter(row.actor.partition("-")[0] for row in await client.actors())  # type: ignore[attr-defined]
            del kinds["spare"]
            if set(kinds) == {"supervisor", "zygote", "vault", "metrics", "gateway", "discovery", "swarm"}:
                assert set(kinds.values()) == {1}
                return
            await trio.sleep(0.05)  # a session's process ends a little after its last message


async def test_nodes_of_one_user_find_each_other_without_any_set_up(tmp_path: Path, monkeypatch) -> None:
    """Same host: no bootstrap, no hint; they meet in the runtime directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with (
        running_node(tmp_path, "anna", same_host=True) as a,
        running_node(tmp_path, "bruno", same_host=True) as b,
    ):
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint


async def test_a_third_node_serves_the_dht_for_two_that_know_only_it(tmp_path: Path) -> None:
    """Words alone: neither device has the other's address from anywhere but the DHT."""
    async with (
        running_node(tmp_path, "server") as server,
        running_node(tmp_path, "anna", bootstrap=(server.bootstrap,)) as a,
        running_node(tmp_path, "bruno", bootstrap=(server.bootstrap,)) as b,
    ):
        result = await pair(a, b)
        assert result.initiator.fingerprint == result.joiner.fingerprint
        assert await server.client.devices() == []
