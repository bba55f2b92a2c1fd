"""Direct upgrade (DCUtR) with other implementations: a whole node and their peer, behind two NATs.

Both listen on one transport, and reach the relay over it, which is this project's.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import open_client
from spacedrive_node.messages.control_protocol import NodeStatus
from spacedrive_node.protocol.code import qr_payload
from spacedrive_node.protocol.peer_ids import peer_id_from_text
from spacedrive_node.tests.harness.interop_peer import InteropPeer, open_peer, skip_if_not_built
from spacedrive_node.tests.harness.nat_lab import LabHost, NatKind, NatLab
from spacedrive_node.tests.harness.nat_nodes import lab_node, metric
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up

LISTEN = {"tcp": "/ip4/0.0.0.0/tcp/7520", "quic": "/ip4/0.0.0.0/udp/7520/quic-v1"}
OUR_NAT: dict[str, NatKind] = {
    "go": "cone",
    "rust": "cone",
    "rust-0.53": "cone",
    "js-2": "fullcone",
    "js-3": "fullcone",
}
"""By implementation: the NAT of this project's node. Theirs is a cone.

js-libp2p does not dial from where it listens, so that it comes in only where the NAT lets in everybody.
"""
each_pair = pytest.mark.parametrize(
    ("implementation", "transport"), [(one, transport) for transport in LISTEN for one in OUR_NAT]
)


@dataclass
class Homes:
    """A node in one home, a host for a peer in another, and a relay that the node has a reservation at."""

    relay: str
    """Its address over the transport, with its peer id."""
    node: UpCommand
    place: LabHost
    theirs: LabHost

    @property
    def own_id(self) -> str:
        return str(self.node.ready["dial"][0]).rpartition("/")[2]


@pytest.fixture
def homes(short_path: Path, lab: NatLab, implementation: str, transport: str) -> Iterator[Homes]:
    skip_if_not_built(implementation)
    with ExitStack() as stack:
        flags = ("--relay-service", "--dht-mode", "server", "--no-port-mapping")
        relay = stack.enter_context(lab_node(short_path, "relay", lab.public(), *flags))
        place, theirs = lab.home(OUR_NAT[implementation]).host(), lab.home("cone").host()
        part = {"tcp": "/tcp/7520/", "quic": "/quic-v1/"}[transport]
        address = next(one for one in relay.ready["dial"] if part in one)
        flags = ("--no-same-host", "--log-format", "json", "--bootstrap", address)
        up = sdnode_up(short_path, "anna", *flags, command=place.command, listen=LISTEN[transport])
        node = stack.enter_context(up)
        yield Homes(address, node, place, theirs)


async def circuit_of(node: UpCommand) -> str:
    """Return the address of a node through its relay, when it has one."""
    async with open_client(Path(node.ready["control"])) as client:
        status: NodeStatus = await client.status()
        while not (circuits := [one for one in status.addresses if "p2p-circuit" in one]):
            await trio.lowlevel.checkpoint()
            status = await client.status()
        return circuits[0]


async def is_direct(homes: Homes, other: InteropPeer, transport: str) -> None:
    """Both sides have come to a direct connection, over the transport; none has failed.

    The relayed dial may be repeated meanwhile, and what is known of the other side then is dialled as it is.
    """
    address = (await other.command("direct", peer=homes.own_id))["address"]
    assert "/quic-v1" in address if transport == "quic" else "/tcp/" in address
    found: set[str] = set()
    while not found:
        values = await trio.to_thread.run_sync(metric, homes.node, homes.place, "hole_punch_total")
        found = {name for name, count in values.items() if count}
    assert found <= {transport, "dialled"}


@each_pair
async def test_a_relayed_dial_of_theirs_becomes_direct(
    homes: Homes, implementation: str, transport: str
) -> None:
    """They dial over the relay, so that this node begins the upgrade."""
    async with open_peer(implementation, LISTEN[transport], enter=homes.theirs.command) as other:
        with trio.fail_after(DEADLINE):
            await other.command("reserve", address=homes.relay)  # so that it knows how it is seen
            circuit = await circuit_of(homes.node)
            await other.command("connect", address=f"{circuit}/p2p/{homes.own_id}")
            await is_direct(homes, other, transport)


@each_pair
async def test_a_relayed_dial_of_ours_becomes_direct(
    homes: Homes, implementation: str, transport: str
) -> None:
    """This node dials over the relay, so that they begin. They know no pairing, which ends with that."""
    async with (
        open_peer(implementation, LISTEN[transport], enter=homes.theirs.command) as other,
        open_client(Path(homes.node.ready["control"])) as client,
    ):
        with trio.fail_after(DEADLINE):
            await other.command("reserve", address=homes.relay)
            await circuit_of(homes.node)
            text = qr_payload(os.urandom(16), peer_id_from_text(other.id), [f"{homes.relay}/p2p-circuit"])
            await client.join_pairing(text, timeout=DEADLINE)
            await is_direct(homes, other, transport)
