"""Whole nodes behind real NATs say truly from where they can be reached, and serve the DHT accordingly.

Three servers with public addresses in different blocks, which know of each other, and one node more.
"""

from pathlib import Path

import pytest

from spacedrive_node.tests.harness.nat_lab import NatKind, NatLab
from spacedrive_node.tests.harness.nat_nodes import knowing, lab_node, three_servers, until, until_metric


def test_a_public_node_is_found_reachable_and_serves_the_dht(short_path: Path, lab: NatLab) -> None:
    """Its three servers have dialled it back; before that it is a client, which nobody's table has."""
    with three_servers(short_path, lab) as servers:
        host = lab.public()
        with lab_node(short_path, "new", host, "--no-port-mapping", *knowing(servers)) as up:
            found = until(up, reachability="public", dht_mode="server")
            assert until_metric(up, host, "reachability_checks_total", "reached", 3)["unreached"] == 0
            assert found["addresses"] == [
                f"/ip4/{host.address}/tcp/7520",
                f"/ip4/{host.address}/udp/7520/quic-v1",
            ]
            for server in servers:
                until(server, dht_peers=3, reachability="public")


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("cone", "punchable"),
        ("restricted", "punchable"),
        ("fullcone", "punchable"),
        ("symmetric", "symmetric"),
    ],
)
def test_a_node_behind_a_nat_says_what_follows(
    short_path: Path, lab: NatLab, kind: NatKind, state: str
) -> None:
    """Three dials fail. None comes through a hole that the node's own packets have made."""
    with three_servers(short_path, lab) as servers:
        host = lab.home(kind).host()
        with lab_node(short_path, "new", host, "--no-port-mapping", *knowing(servers)) as up:
            until(up, reachability=state, dht_mode="client")
            found = until_metric(up, host, "reachability_checks_total", "unreached", 3)
            assert (found["reached"], found["unsolicited"], found["lied"]) == (0, 0, 0)
            until(up, reachability=state, dht_mode="client")
            for server in servers:
                until(server, dht_peers=2)


def test_a_port_that_was_forwarded_by_hand_is_found_and_announced(short_path: Path, lab: NatLab) -> None:
    with three_servers(short_path, lab) as servers:
        home = lab.home("symmetric")
        host = home.host()
        home.forward("tcp", 7520, host, 7520)
        with lab_node(short_path, "new", host, "--no-port-mapping", *knowing(servers)) as up:
            found = until(up, reachability="public", dht_mode="server")
            assert found["addresses"][0] == f"/ip4/{home.address}/tcp/7520"
            for server in servers:
                until(server, dht_peers=3)
