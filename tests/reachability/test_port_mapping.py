"""Whole nodes behind NATs whose router opens ports on request: what is opened, believed and given back."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.mapping_gateway import mapping_gateway
from spacedrive_node.tests.harness.nat_lab import NatLab
from spacedrive_node.tests.harness.nat_nodes import (
    knowing,
    lab_node,
    metric,
    three_servers,
    until,
    until_metric,
)
from spacedrive_node.tests.harness.node_commands import DEADLINE, sdnode_pair

SILENCE_S = 3.0


@pytest.mark.parametrize("dialect", ["pcp", "nat-pmp"])
def test_a_home_becomes_public_and_pairs_with_one_behind_a_symmetric_nat(
    short_path: Path, lab: NatLab, dialect: str
) -> None:
    """The port is announced once AutoNAT has come through; given back at the end, and not left open."""
    home, other_home = lab.home("cone"), lab.home("symmetric")
    host, other = home.host(), other_home.host()
    with three_servers(short_path, lab) as servers, mapping_gateway(home, dialect) as gateway:
        flags = knowing(servers)
        with (
            lab_node(short_path, "home", host, *flags) as up,
            lab_node(short_path, "away", other, "--no-port-mapping", *flags) as away,
        ):
            for protocol in ("tcp", "udp"):
                gateway.until(event="opened", protocol=protocol, port=31520)
            found = until(up, reachability="public", dht_mode="server")
            assert found["addresses"][0] == f"/ip4/{home.address}/tcp/31520"
            until(away, reachability="symmetric")
            with sdnode_pair(up) as (words, showing):
                done = away.run("join", "--yes", *words.split())[-1]
                assert (done["event"], done["path"]) == ("paired", "direct")
                assert showing.wait(DEADLINE) == 0
        for _ in range(2):
            gateway.until(event="closed", port=31520)


def test_a_router_that_says_it_has_opened_a_port_and_has_not_is_not_believed(
    short_path: Path, lab: NatLab
) -> None:
    home = lab.home("symmetric")
    host = home.host()
    with three_servers(short_path, lab) as servers:
        known = knowing(servers)
        with (
            mapping_gateway(home, "pcp", lies=True) as gateway,
            lab_node(short_path, "home", host, *known) as up,
        ):
            gateway.until(event="opened", protocol="tcp")
            until_metric(up, host, "reachability_checks_total", "unreached", 3)
            assert metric(up, host, "port_mappings")["mapped"] == 2
            found = until(up, reachability="symmetric", dht_mode="client")
            assert all(home.address not in address for address in found["addresses"])


def test_a_router_behind_another_nat_is_useless(short_path: Path, lab: NatLab) -> None:
    home = lab.home("cone")
    host = home.host()
    with (
        mapping_gateway(home, "pcp", address="100.64.1.1") as gateway,
        lab_node(short_path, "home", host) as up,
    ):
        gateway.until(event="opened", protocol="tcp")
        gateway.until(event="closed", port=31520)
        until_metric(up, host, "port_mappings", "useless", 2)


@pytest.mark.parametrize("dialect", ["pcp", "nat-pmp"])
def test_a_router_that_was_restarted_is_asked_anew(short_path: Path, lab: NatLab, dialect: str) -> None:
    home = lab.home("cone")
    host = home.host()
    with mapping_gateway(home, dialect) as gateway, lab_node(short_path, "home", host) as up:
        until_metric(up, host, "port_mappings", "mapped", 2)
        gateway.fail()
        gateway.until(event="restarted")
        for protocol in ("tcp", "udp"):
            gateway.until(event="opened", protocol=protocol, port=31520)
        until_metric(up, host, "port_mappings", "mapped", 2)


@pytest.mark.parametrize("killed", ["lan", "swarm"])
def test_an_actor_that_was_killed_finds_the_same_port_again(
    short_path: Path, lab: NatLab, killed: str
) -> None:
    """The router gives a port only to who names the mapping as before: the transport key does."""
    home = lab.home("cone")
    host = home.host()
    with mapping_gateway(home, "pcp") as gateway, lab_node(short_path, "home", host) as up:
        until_metric(up, host, "port_mappings", "mapped", 2)
        (row,) = [row for row in up.run("actors") if row["actor"] == killed]
        os.kill(int(str(row["pid"])), signal.SIGKILL)
        if killed == "lan":
            for protocol in ("tcp", "udp"):
                gateway.until(event="opened", protocol=protocol, port=31520)
        else:
            assert gateway.heard_within(SILENCE_S, event="closed") is None
        until_metric(up, host, "port_mappings", "mapped", 2)
    gateway.until(event="closed", port=31520)


def test_a_node_that_is_to_open_nothing_says_nothing(short_path: Path, lab: NatLab) -> None:
    home = lab.home("cone")
    host = home.host()
    announced = ("--announce", f"/ip4/{home.address}/tcp/443")
    with mapping_gateway(home, "pcp") as gateway:
        for flags in (("--no-port-mapping",), ("--lan-only",), ("--offline",), announced):
            name = flags[0].strip("-")
            with lab_node(short_path, name, host, *flags, offline=name == "offline") as up:
                assert "lan" not in [row["actor"] for row in up.run("actors")]
                assert gateway.heard_within(SILENCE_S) is None
        with lab_node(short_path, "control", host):
            gateway.until(event="opened", protocol="tcp")


def test_a_router_of_the_trade(short_path: Path, lab: NatLab) -> None:
    """miniupnpd, which many home routers run."""
    if shutil.which("miniupnpd") is None:
        pytest.skip("needs miniupnpd: apt install miniupnpd miniupnpd-nftables")
    home = lab.home("cone")
    host = home.host()
    home.run("nft", "-f", "-", stdin=MINIUPNPD_TABLES)
    file = short_path / "miniupnpd.conf"
    file.write_text(MINIUPNPD)
    command = [*home.command, "miniupnpd", "-d", "-f", str(file), "-P", str(short_path / "pid")]
    with three_servers(short_path, lab) as servers:
        router = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with lab_node(short_path, "home", host, *knowing(servers)) as up:
                found = until(up, reachability="public", dht_mode="server")
                assert found["addresses"][0].startswith(f"/ip4/{home.address}/tcp/")
                assert "dnat" in home.run("nft", "list", "chain", "inet", "upnp", "upnp_incoming")
            assert "dnat" not in home.run("nft", "list", "chain", "inet", "upnp", "upnp_incoming")
        finally:
            router.kill()
            router.wait()


MINIUPNPD_TABLES = """
table inet upnp {
  chain upnp_forward {}
  chain upnp_incoming {}
  chain upnp_outgoing {}
  chain incoming { type nat hook prerouting priority -101; iifname wan0 jump upnp_incoming; }
  chain outgoing { type nat hook postrouting priority 99; jump upnp_outgoing; }
}
"""
MINIUPNPD = """
ext_ifname=wan0
listening_ip=lan0
enable_natpmp=yes
enable_upnp=no
min_lifetime=120
max_lifetime=86400
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=upnp_forward
upnp_nat_chain=upnp_incoming
upnp_nat_postrouting_chain=upnp_outgoing
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
