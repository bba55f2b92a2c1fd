"""Whole nodes in two homes behind NATs pair over a relay, and go on directly where the NATs allow it.

The digits are shown over the relay; the users accept when the direct connection is there.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest
import trio

from spacedrive_node.client.node_client import open_client
from spacedrive_node.tests.harness.nat_lab import LabHost, NatKind, NatLab
from spacedrive_node.tests.harness.nat_nodes import knowing, lab_node, metric
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand

Place = NatKind | Literal["public"]


def two_nodes(
    stack: ExitStack, folder: Path, lab: NatLab, kinds: Sequence[Place], blocked: str = ""
) -> list[tuple[UpCommand, LabHost]]:
    """A relay that is a DHT server too, and a node in each place.

    Of UDP nothing leaves a home where it is `blocked`, of TCP nothing from one home to another.
    """
    flags = ("--relay-service", "--dht-mode", "server", "--no-port-mapping")
    relay = stack.enter_context(lab_node(folder, "relay", lab.public(), *flags))
    made = []
    for name, kind in zip(("anna", "bruno"), kinds, strict=True):
        if kind == "public":
            host = lab.public()
        else:
            home = lab.home(kind)
            host = home.host()
            if blocked:
                where = {"udp": "", "tcp": "ip daddr 45.77.0.0/16"}[blocked]
                home.run(
                    "nft",
                    f"insert rule inet firewall forward oifname wan0 {where} meta l4proto {blocked} drop",
                )
        up = stack.enter_context(lab_node(folder, name, host, "--no-port-mapping", *knowing([relay])))
        made.append((up, host))
    return made


def outcome(up: UpCommand, host: LabHost) -> str:
    """Wait until an upgrade of a node is over; return what has become of it."""
    deadline = time.monotonic() + DEADLINE
    while not (found := [name for name, n in metric(up, host, "hole_punch_total").items() if n]):
        assert time.monotonic() < deadline, (up.run("status"), up.log())
    return found[0]


async def pair(nodes: Sequence[tuple[UpCommand, LabHost]]) -> tuple[set[str], set[str | None]]:
    """Pair by words. The digits are shown over the relay, and the users accept when the upgrade is over.

    Return the outcomes of the upgrade, and the paths of the pairing, of both sides.
    """
    async with (
        open_client(Path(nodes[0][0].ready["control"])) as shower,
        open_client(Path(nodes[1][0].ready["control"])) as joiner,
    ):
        with trio.fail_after(DEADLINE):
            while not any("p2p-circuit" in one for one in (await shower.status()).addresses):
                await trio.lowlevel.checkpoint()
            shown = await shower.start_pairing()
            joined = await joiner.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
            assert len({(await one.confirmation()).check for one in (shown, joined)}) == 1
            outcomes = {await trio.to_thread.run_sync(outcome, *one) for one in nodes}
            for one in (shown, joined):
                await one.accept()
            return outcomes, {(await one.paired()).path for one in (shown, joined)}


@pytest.mark.parametrize(
    ("kinds", "transport"),
    [
        (("cone", "cone"), "quic"),
        (("restricted", "cone"), "tcp"),
        (("symmetric", "fullcone"), "quic"),
        (("fullcone", "symmetric"), "tcp"),
    ],
)
async def test_a_hole_is_punched(
    short_path: Path, lab: NatLab, kinds: Sequence[Place], transport: str
) -> None:
    """With one transport alone. Who shows the words is dialled through the relay, and so begins."""
    with ExitStack() as stack:
        nodes = two_nodes(stack, short_path, lab, kinds, blocked={"quic": "tcp", "tcp": "udp"}[transport])
        assert await pair(nodes) == ({transport}, {"direct"})


async def test_a_port_restricted_and_a_symmetric_nat_stay_relayed(short_path: Path, lab: NatLab) -> None:
    with ExitStack() as stack:
        nodes = two_nodes(stack, short_path, lab, ("cone", "symmetric"))
        assert await pair(nodes) == ({"failed"}, {"relayed"})


async def test_a_public_node_that_joins_is_reached_without_a_relay_afterwards(
    short_path: Path, lab: NatLab
) -> None:
    with ExitStack() as stack:
        _outcomes, paths = await pair(two_nodes(stack, short_path, lab, ("symmetric", "public")))
        assert paths == {"direct"}
