"""The name server is gone while two users pair whose nodes know their DHT server by name alone."""

import os
import signal
from pathlib import Path

import trio

from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.name_server import name_server
from spacedrive_node.tests.harness.nodes import DEADLINE, free_port, running_node


async def test_names_are_gone_and_the_server_restarts_while_a_code_is_shown(tmp_path: Path) -> None:
    """Both users see nothing of it: where the server was reached is known without its name."""
    where = f"/ip4/127.0.0.1/tcp/{free_port()}"
    async with name_server({}) as names, running_node(tmp_path, "server", listen=(where,)) as server:
        own = f"/p2p/{peer_id_text(server.ready.peer)}"
        names.zone["_dnsaddr.boot.example"] = [f"dnsaddr={where}{own}"]
        known = {"bootstrap": (f"/dnsaddr/boot.example{own}",), "dns": (names.address,)}
        async with (
            running_node(tmp_path, "anna", same_host=False, **known) as anna,
            running_node(tmp_path, "bruno", same_host=False, **known) as bruno,
        ):
            for node in (anna, bruno):
                await node.spawner.wait_until_delivered("discovery", "ServerJoined", 1)
            shown = await anna.client.start_pairing()
            names.hostile = lambda _question: ()  # it says nothing any more
            os.kill((await server.pids())["swarm"], signal.SIGKILL)
            joined = await bruno.client.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
            with trio.fail_after(DEADLINE):
                assert (await shown.confirmation()).check == (await joined.confirmation()).check
                for pairing in (shown, joined):
                    await pairing.accept()
                for pairing in (shown, joined):
                    await pairing.paired()
