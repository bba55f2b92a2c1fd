"""A router that opens ports restarts, and what it announces then is not heard."""

from pathlib import Path

from spacedrive_node.tests.harness.mapping_gateway import mapping_gateway
from spacedrive_node.tests.harness.nat_lab import NatLab
from spacedrive_node.tests.harness.nat_nodes import lab_node, until_metric


def test_a_router_that_was_restarted_unheard_is_asked_anew(short_path: Path, lab: NatLab) -> None:
    """The cable to it was without a signal meanwhile, as it is when it restarts; the route has stayed."""
    home = lab.home("cone")
    host = home.host()
    with mapping_gateway(home, "pcp") as gateway, lab_node(short_path, "home", host) as up:
        until_metric(up, host, "port_mappings", "mapped", 2)
        home.ip("link set p11 down")
        gateway.fail()
        gateway.until(event="restarted")
        assert "default" in host.run("ip", "route", "show", "default")
        home.ip("link set p11 up")
        for protocol in ("tcp", "udp"):
            gateway.until(event="opened", protocol=protocol, port=31520)
        until_metric(up, host, "port_mappings", "mapped", 2)
