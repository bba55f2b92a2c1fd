"""What doctor makes of what it knows: each fact that is wrong is one finding, with what to do."""

import pytest
from msgspec.structs import replace

from spacedrive_node.cli.doctor_facts import (
    ActorSandbox,
    AllFacts,
    DiskFacts,
    FileFacts,
    HostFacts,
    NodeFacts,
    NoNode,
)
from spacedrive_node.cli.doctor_findings import find
from spacedrive_node.cli.doctor_gather import read_samples
from spacedrive_node.messages.from_supervisor import SandboxGap
from spacedrive_node.messages.to_gateway import ActorInfo
from spacedrive_node.tests.harness.fake_node import status

STEPS = ("namespaces", "rlimits", "dumpable", "no_new_privs", "capabilities", "alone", "landlock", "seccomp")
HOST = HostFacts(
    interfaces=("eth0",),
    multicast_interfaces=("eth0",),
    has_ipv4_route=True,
    has_ipv6_route=False,
    name_servers=1,
    synchronised=True,
    installed_in_s=0.0,
    sandbox=dict.fromkeys(STEPS, "ok"),
    max_open_files=1024,
    versions={"python": "3.11.7", "spacedrive-node": "0.1.0"},
    wrong_versions=(),
    python_is_supported=True,
)
METRICS = """
# HELP spacedrive_node_handshake_seconds …
spacedrive_node_handshake_seconds_count{outcome="ok",transport="tcp"} 3.0
spacedrive_node_handshake_seconds_count{outcome="ok",transport="quic"} 2.0
spacedrive_node_mdns_packets_total{outcome="read"} 4.0
spacedrive_node_relay_reservations{side="held"} 1.0
process_start_time_seconds 1.7e+09
"""
NODE = NodeFacts(
    status=replace(status(1), reachability="public"),
    actors=(ActorInfo("vault", 7, "running", 0, 1.0, 0),),
    samples=read_samples(METRICS),
    sandboxes=(ActorSandbox("vault", seccomp=True, no_new_privs=True, no_capabilities=True),),
    clock_jump_s=0.01,
)
DIRECTORY = FileFacts("the data directory", "/srv/node", 0o700, is_directory=True)
DISK = DiskFacts("the data directory", "/srv/node", 2**33, 10**6, is_read_only=False)
FINE = AllFacts(
    node=NODE,
    host=HOST,
    files=(DIRECTORY,),
    disks=(DISK,),
    settings={},
    settings_problems=(),
    settings_source="here",
)


def of(facts):
    """Return the findings that are not ok, as (area, check, level)."""
    found = [finding for finding in find(facts) if finding.level != "ok"]
    assert all(finding.advice for finding in found), found
    assert all(finding.level == "ok" or finding.text for finding in find(facts))
    return [(finding.area, finding.check, finding.level) for finding in found]


def test_where_everything_is_right_there_is_nothing_to_do():
    found = find(FINE)
    assert of(FINE) == []
    assert not [finding for finding in found if finding.advice]
    assert [*dict.fromkeys(finding.area for finding in found)] == [
        "node", "network", "clock", "permissions", "sandbox", "versions", "disk",
    ]  # fmt: skip


def with_node(**changes):
    return replace(FINE, node=replace(NODE, **changes))


def with_status(**changes):
    return with_node(status=replace(NODE.status, **changes))


def with_host(**changes):
    return replace(FINE, host=replace(HOST, **changes))


def with_samples(text):
    return with_node(samples=read_samples(text))


BLOCKED = METRICS.replace('ok",transport="quic"} 2.0', 'failed",transport="quic"} 9.0')


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(FINE, node=NoNode("none runs", is_expected=True)), ("node", "running", "note")),
        (replace(FINE, node=NoNode("silent", is_expected=False)), ("node", "running", "problem")),
        (with_status(ready=False, missing=("vault",)), ("node", "ready", "problem")),
        (with_node(actors=(ActorInfo("swarm", 7, "running", 99, 1.0, 0),)), ("node", "restarts", "problem")),
        (replace(FINE, settings_problems=("SDNODE_NAME: blank",)), ("node", "settings", "problem")),
        (with_status(listening=()), ("network", "listening", "problem")),
        (with_status(reachability="symmetric"), ("network", "reachability", "note")),
        (with_status(dht_peers=0), ("network", "dht", "note")),
        (with_status(mdns="off"), ("network", "mdns", "note")),
        (with_status(mdns="both", mdns_interfaces=0), ("network", "mdns", "problem")),
        (with_samples(METRICS.replace("} 4.0", "} 0.0")), ("network", "mdns", "note")),
        (with_node(samples=None), ("network", "metrics", "note")),
        (with_samples(BLOCKED), ("network", "udp", "note")),
        (with_host(interfaces=(), multicast_interfaces=()), ("network", "interfaces", "note")),
        (with_host(multicast_interfaces=()), ("network", "multicast", "note")),
        (with_host(has_ipv4_route=False), ("network", "routes", "note")),
        (with_host(name_servers=0), ("network", "names", "note")),
        (with_host(installed_in_s=1e6), ("clock", "time", "problem")),
        (with_host(synchronised=False), ("clock", "synchronised", "note")),
        (with_node(clock_jump_s=-7200.0), ("clock", "jump", "note")),
        (replace(FINE, files=(replace(DIRECTORY, changed_in_s=7200.0),)), ("clock", "files", "problem")),
        (replace(FINE, files=(replace(DIRECTORY, mode=0o755),)),
         ("permissions", "the_data_directory", "problem")),
        (replace(FINE, files=(replace(DIRECTORY, is_own=False),)),
         ("permissions", "the_data_directory", "problem")),
        (replace(FINE, files=(replace(DIRECTORY, mode=None, problem="denied"),)),
         ("permissions", "the_data_directory", "problem")),
        (with_host(max_open_files=64), ("permissions", "open_files", "problem")),
        (with_host(sandbox=HOST.sandbox | {"namespaces": "denied"}), ("sandbox", "namespaces", "note")),
        (with_host(sandbox=HOST.sandbox | {"landlock": "none"}), ("sandbox", "landlock", "problem")),
        (with_host(sandbox={}), ("sandbox", "steps", "problem")),
        (with_node(sandboxes=(replace(NODE.sandboxes[0], seccomp=False),)),
         ("sandbox", "running_seccomp", "problem")),
        (with_status(sandbox_gaps=(SandboxGap("landlock", "none", ("vault",)),)),
         ("sandbox", "running_landlock", "problem")),
        (with_status(sandbox_gaps=(SandboxGap("namespaces", "denied", ("vault",), True),)),
         ("sandbox", "running_namespaces_made_good", "note")),
        (with_host(python_is_supported=False), ("versions", "python", "problem")),
        (with_host(wrong_versions=("libp2p is 9, and 0.8.1 is needed",)), ("versions", "pins", "problem")),
        (with_status(version="0.0.9"), ("versions", "node", "problem")),
        (replace(FINE, disks=(replace(DISK, free_bytes=2**20),)), ("disk", "the_data_directory", "problem")),
        (replace(FINE, disks=(replace(DISK, free_bytes=2**27),)), ("disk", "the_data_directory", "note")),
        (replace(FINE, disks=(replace(DISK, free_inodes=3),)), ("disk", "the_data_directory", "problem")),
        (replace(FINE, disks=(replace(DISK, is_read_only=True),)), ("disk", "the_data_directory", "problem")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_finding(facts, expected):
    assert of(facts) == [expected]


def test_a_node_that_nobody_reaches_needs_a_relay():
    """Behind a NAT that maps each connection anew, and without a reservation."""
    facts = with_node(
        status=replace(NODE.status, reachability="symmetric"),
        samples=read_samples(METRICS.replace('side="held"} 1.0', 'side="held"} 0.0')),
    )
    assert ("network", "relays", "note") in of(facts)


def test_a_node_that_is_offline_misses_no_network():
    """--offline is meant: neither DHT, nor mDNS, nor UDP is missed."""
    assert of(with_status(offline=True, mdns="off", dht_peers=0, reachability="this host")) == []


def test_one_handshake_that_failed_is_no_blocked_udp():
    assert of(with_samples(BLOCKED.replace("9.0", "1.0"))) == []
