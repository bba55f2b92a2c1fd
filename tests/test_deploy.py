"""The files of deploy/ fit the node: its port for TCP and for UDP, and that of mDNS."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spacedrive_node.config.settings import DEFAULT_LISTEN, DEFAULT_QUIC_LISTEN
from spacedrive_node.protocol.multiaddrs import parse

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "firewall/spacedrive-node.nft"
PORT = parse(DEFAULT_LISTEN[0]).port
BOTH = {("tcp", str(PORT)), ("udp", str(PORT))}


def test_the_unit_listens_as_a_node_does_by_default() -> None:
    """TCP and QUIC, IPv4 and IPv6, but on a fixed port."""
    unit = (DEPLOY / "systemd/spacedrive-node.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    words = shlex.split(command)
    listens = {words[place + 1] for place, word in enumerate(words) if word == "--listen"}
    assert listens == {*DEFAULT_LISTEN, *DEFAULT_QUIC_LISTEN}
    assert "UDP" in unit
    assert "5353" in unit


def test_firewalls_let_in_both_ports_and_mdns() -> None:
    """In the form of each of them."""
    rules = RULES.read_text()
    assert set(re.findall(r"^(tcp|udp) dport (\d+) accept$", rules, re.MULTILINE)) == BOTH
    assert {"224.0.0.251", "ff02::fb"} <= set(re.findall(r"daddr (\S+) udp dport 5353 accept", rules))
    service = ElementTree.parse(DEPLOY / "firewall/firewalld-service.xml").getroot()
    assert {(one.attrib["protocol"], one.attrib["port"]) for one in service.findall("port")} == BOTH
    assert [one.attrib["service"] for one in service.findall("include")] == ["mdns"]
    profile = configparser.ConfigParser()
    profile.read(DEPLOY / "firewall/ufw-application")
    ports = profile["spacedrive-node"]["ports"].split("|")
    assert {(kind, port) for port, kind in (one.split("/") for one in ports)} == BOTH


def test_nftables_takes_the_rules(tmp_path: Path) -> None:
    """In a chain of somebody's own table."""
    nft = shutil.which("nft")
    if nft is None:
        pytest.skip("nft is not installed")
    whole = tmp_path / "whole.nft"
    chain = "type filter hook input priority filter; policy drop;"
    whole.write_text(f'table inet filter {{\nchain input {{\n{chain}\ninclude "{RULES}"\n}}\n}}\n')
    done = subprocess.run(
        ["unshare", "--net", nft, "--check", "--file", str(whole)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip("needs the right to make network namespaces")
    assert done.returncode == 0, done.stderr
