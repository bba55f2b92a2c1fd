"""DHT servers know each other, and not only the one through which each of them came."""

from pathlib import Path

from spacedrive_node.tests.harness.nodes import pair, running_node


async def test_servers_stay_one_network_when_their_only_door_is_gone(tmp_path: Path) -> None:
    """Two servers came through the same third one, which ends. A device of each then pairs by words alone."""
    async with running_node(tmp_path, "door") as door:
        through_door = (door.bootstrap,)
        async with (
            running_node(tmp_path, "left", bootstrap=through_door) as left,
            running_node(tmp_path, "right", bootstrap=through_door) as right,
        ):
            for server in (left, right):
                await server.spawner.wait_until_delivered("discovery", "ServerJoined", 2)
            door.stop.set()
            for server in (left, right):
                await server.spawner.wait_until_delivered("discovery", "ServerLost", 1)
            async with (
                running_node(tmp_path, "anna", bootstrap=(left.bootstrap,)) as a,
                running_node(tmp_path, "bruno", bootstrap=(right.bootstrap,)) as b,
            ):
                result = await pair(a, b)
                assert result.initiator.fingerprint == result.joiner.fingerprint
