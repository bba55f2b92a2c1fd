"""The name server is gone: what a node does whose DHT servers are named, at its start and later."""

import json
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import trio

from spacedrive_node.client.node_client import open_client
from spacedrive_node.tests.harness.interrupted_nodes import (
    AWAY_S,
    FOUND_AGAIN_S,
    Record,
    see_each_other,
)
from spacedrive_node.tests.harness.interruption_report import Return
from spacedrive_node.tests.harness.name_server import name_server_process
from spacedrive_node.tests.harness.nat_lab import NatLab
from spacedrive_node.tests.harness.nat_nodes import knowing, lab_node
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand

NAME = "boot.example"


def test_a_node_that_starts_without_a_name_server_uses_the_name_when_it_is_there(
    short_path: Path, lab: NatLab
) -> None:
    """It comes up, says what is missing, and looks again by itself; later it can do without it."""
    names, server_host, host = lab.public(), lab.public(), lab.home("cone").host()
    elsewhere = lab.home("cone")
    elsewhere.host()  # so that the address is another one there
    with ExitStack() as stack:
        server = stack.enter_context(lab_node(short_path, "server", server_host, "--dht-mode", "server"))
        peer = str(server.ready["peer_id"])
        record = f"dnsaddr=/ip4/{server_host.address}/tcp/7520/p2p/{peer}"
        flags = ("--bootstrap", f"/dnsaddr/{NAME}/p2p/{peer}", "--dns", f"{names.address}:53")
        up = stack.enter_context(lab_node(short_path, "home", host, *flags))
        until_logged(up, "a name leads to no address", f"/dnsaddr/{NAME}")
        until_known(up, 0)
        with name_server_process(names.command, names.address, {f"_dnsaddr.{NAME}": [record]}):
            until_known(up)
        host.ip("link delete eth0")
        elsewhere.take_in(host)
        deadline = time.monotonic() + DEADLINE
        while elsewhere.address not in server_host.run("ss", "-Htn", "state", "established"):
            assert time.monotonic() < deadline, up.log()


async def test_a_code_is_found_once_the_name_server_is_there(
    short_path: Path, lab: NatLab, record_property: Record
) -> None:
    """Its node was started without one, and knew of no other way into the DHT."""
    names, server_host, homes = lab.public(), lab.public(), [lab.home("symmetric").host() for _ in range(2)]
    async with AsyncExitStack() as stack:
        flags = ("--dht-mode", "server", "--relay-service")
        server = stack.enter_context(lab_node(short_path, "server", server_host, *flags))
        peer = str(server.ready["peer_id"])
        record = f"dnsaddr=/ip4/{server_host.address}/tcp/7520/p2p/{peer}"
        named = ("--bootstrap", f"/dnsaddr/{NAME}/p2p/{peer}", "--dns", f"{names.address}:53")
        clients = []
        for name, host, flags in (("home", homes[0], named), ("clara", homes[1], knowing([server]))):
            up = stack.enter_context(lab_node(short_path, name, host, *flags))
            clients.append(await stack.enter_async_context(open_client(Path(up.ready["control"]))))
        shown = await clients[0].start_pairing()
        await trio.sleep(AWAY_S)  # the time without a name server is what is tried
        server_of_names = name_server_process(names.command, names.address, {f"_dnsaddr.{NAME}": [record]})
        stack.enter_context(server_of_names)
        back = Return("name server, since the start", record_property)
        with trio.fail_after(FOUND_AGAIN_S):
            joined = await clients[1].join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
            await see_each_other(shown, joined)
        back.note("found")


def until_known(up: UpCommand, servers: int = 1) -> None:
    """Wait until the node knows so many DHT servers, whatever its status is."""
    deadline = time.monotonic() + 2 * DEADLINE
    while True:
        try:
            (found,) = up.run("status")
        except AssertionError:
            found = {"dht": {"peers": 0}}
        dht = found["dht"]
        assert isinstance(dht, dict)
        if dht["peers"] == servers:
            return
        assert time.monotonic() < deadline, up.log()


def until_logged(up: UpCommand, event: str, name: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not any(
        entry.get("event") == event and entry.get("name") == name
        for entry in map(json.loads, filter(lambda line: line.startswith("{"), up.log().splitlines()))
    ):
        assert time.monotonic() < deadline, up.log()
