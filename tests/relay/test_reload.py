"""Two homes without a route between them, whose nodes are given other settings while their users decide."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import open_client
from spacedrive_node.tests.harness.faults.parted_network import (
    OTHER_SERVER_IP,
    PORT,
    SERVER_IP,
    PartedNetwork,
)
from spacedrive_node.tests.harness.node_commands import UpCommand
from spacedrive_node.tests.harness.nodes import reload_node
from spacedrive_node.tests.relay.test_nodes import (
    confirmed,
    kill,
    leads_through,
    network,
    node,
    relay_node,
    shown_devices,
    until,
)

__all__ = ["network"]

NOT_IN_THE_DHT = ("--dht-mode", "client")
"""No node finds such a relay by itself."""
LISTEN = f"/ip4/0.0.0.0/tcp/{PORT}"
QUIC = f"/ip4/0.0.0.0/udp/{PORT}/quic-v1"
NOT_OURS = f"/ip4/192.0.2.1/tcp/{PORT}"
"""No socket can have this address here."""


@dataclass
class File:
    """The configuration file of a node that has a DHT server."""

    path: Path
    server: str

    def write(self, relay: str, *listen: str, sessions: int = 20, level: str = "info") -> None:
        self.path.write_text(
            f"bootstrap = ['{self.server}']\nrelay = ['{relay}']\nlisten = {list(listen)}\n"
            f"max-sessions = {sessions}\nlog-level = '{level}'\n"
        )


@contextmanager
def dht_server(folder: Path, network: PartedNetwork) -> Iterator[str]:
    """Run a server that is no relay; gives its address with its peer id."""
    address = f"/ip4/{SERVER_IP}/tcp/{PORT + 1}"
    more = ("--announce", address, "--dht-mode", "server")
    with node(folder, "server", network.server, *more, listen=address) as up:
        yield f"{address}/p2p/{up.ready['peer_id']}"


async def reload(*nodes: UpCommand) -> tuple[str, list[str]]:
    """Have nodes read their files, all at once; return what comes of it at each, and the settings named."""
    found = []

    async def one(up: UpCommand) -> None:
        report = await reload_node(Path(up.ready["control"]))
        found.append((report.state, [change.key for change in report.changes]))

    async with trio.open_nursery() as nursery:
        for up in nodes:
            nursery.start_soon(one, up)
    assert found == [found[0]] * len(nodes)
    return found[0]


@pytest.mark.timeout(480)
async def test_another_relay_takes_the_place_of_the_one_in_use_and_then_more_changes(
    short_path: Path, network: PartedNetwork
) -> None:
    """Who has shown the code is found at the new relay, though the code is used already.

    What cannot be done is undone as a whole, in between. In the end each setting holds.
    """
    with ExitStack() as stack:
        former, at_former = stack.enter_context(relay_node(short_path, network, *NOT_IN_THE_DHT))
        _other, at_other = stack.enter_context(
            relay_node(short_path, network, *NOT_IN_THE_DHT, ip=OTHER_SERVER_IP)
        )
        at_server = stack.enter_context(dht_server(short_path, network))
        nodes = []
        for name in ("anna", "bruno"):
            file = File(short_path / f"{name}.toml", at_server)
            file.write(at_former, LISTEN, QUIC)
            up = stack.enter_context(
                node(short_path, name, network.home(), "--config", str(file.path), listen=None)
            )
            nodes.append((up, file))
        (anna, annas_file), (bruno, _) = nodes
        async with (
            open_client(Path(anna.ready["control"])) as showing,
            open_client(Path(bruno.ready["control"])) as joining,
        ):
            await until(showing, leads_through(SERVER_IP))
            shown = await showing.start_pairing()
            joined = await joining.join_pairing(" ".join(shown.code.words), timeout=60.0)
            await shown_devices(shown, joined)
            kill(former)  # who is connected could still be told where this node goes
            for _up, file in nodes:
                file.write(at_other, LISTEN, QUIC)
            assert await reload(anna, bruno) == ("applied", ["relay"])
            annas_file.write(at_former, NOT_OURS, sessions=3, level="debug")
            undone = await reload(anna)
            assert undone == ("undone", ["listen", "relay", "max-sessions", "log-level"])
            assert (await showing.status()).sessions_limit == 20
            for _up, file in nodes:
                file.write(at_other, LISTEN, sessions=9, level="debug")
            changed = ["listen", "max-sessions", "log-level"]
            assert await reload(anna, bruno) == ("applied", changed)
            assert await confirmed(shown, joined) == ["relayed", "relayed"]
            for client, (up, _) in zip((showing, joining), nodes, strict=True):
                await until(client, leads_through(OTHER_SERVER_IP))
                await until(client, lambda addresses: not leads_through(SERVER_IP)(addresses))
                status = await client.status()
                assert status.listening == (LISTEN,)
                assert status.sessions_limit == 9
                up.wait_logged("message")
