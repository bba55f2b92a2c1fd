"""Nodes in network namespaces on one bridge: they pair by words alone, whatever others there say.

Nobody has told the nodes anything: no bootstrap, no hint, and each has a register of its own.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from spacedrive_node.actors.lan.dns_messages import Pointer, Text, decode
from spacedrive_node.actors.lan.service import SERVICE, TTL_SECONDS
from spacedrive_node.tests.harness.faults.cable_network import Addressing, CableNetwork, Host, open_network
from spacedrive_node.tests.harness.lan_stranger import stranger
from spacedrive_node.tests.harness.node_commands import (
    DEADLINE,
    UpCommand,
    sdnode_pair,
    sdnode_started,
    sdnode_up,
)

LISTEN: dict[Addressing, str | None] = {
    "ip4": "/ip4/0.0.0.0/tcp/7520",
    "ip6": "/ip6/::/tcp/7520",
    "link": None,
    "both": None,
}
"""None: as a node does by default."""
SILENCE_SECONDS = 2.5
"""Long enough for the second question and the second announcement."""


@pytest.fixture
async def network() -> AsyncIterator[CableNetwork]:
    async with open_network() as found:
        if not found.enter:
            pytest.skip("needs the right to make network namespaces")
        yield found


@contextmanager
def node(
    folder: Path, name: str, host: Host, *flags: str, addressing: Addressing = "ip4"
) -> Iterator[UpCommand]:
    place = folder / name
    place.mkdir(mode=0o700)
    flags = ("--mdns", "--no-same-host", "--log-format", "json", *flags)
    with sdnode_up(place, name, *flags, command=host.command, listen=LISTEN[addressing]) as up:
        yield up


def pair(a: UpCommand, b: UpCommand) -> None:
    with sdnode_pair(a) as (words, showing):
        done = b.run("join", "--yes", *words.split())[-1]
        assert done["event"] == "paired"
        assert showing.wait(DEADLINE) == 0


async def in_thread(work: Callable[[], None]) -> None:
    await trio.to_thread.run_sync(work)


def actor(up: UpCommand, name: str) -> dict[str, object]:
    (row,) = [row for row in up.run("actors") if row["actor"] == name]
    return row


@pytest.mark.parametrize("addressing", ["ip4", "ip6", "link", "both"])
async def test_two_nodes_pair_by_words_alone(
    short_path: Path, network: CableNetwork, addressing: Addressing
) -> None:
    one, other = await network.host(addressing), await network.host(addressing)

    def run() -> None:
        with (
            node(short_path, "anna", one, addressing=addressing) as a,
            node(short_path, "bruno", other, addressing=addressing) as b,
        ):
            pair(a, b)
            pair(b, a)

    await in_thread(run)


async def test_every_interface_is_spoken_on(short_path: Path, network: CableNetwork) -> None:
    """A host between two networks: a device in either finds its code, at the address that it has there.

    Which of its addresses others are told otherwise does not matter, nor that the second came later.
    """
    middle, near, far = await network.host(), await network.host(), await network.host()
    await far.pull()

    def run() -> None:
        with (
            node(short_path, "anna", middle) as a,
            node(short_path, "bruno", near) as b,
            node(short_path, "carla", far) as c,
        ):
            pair(a, b)
            trio.from_thread.run(network.second_cable, middle, far)
            until_carrier(middle)
            pair(a, c)
            assert {address.split("/")[2] for address in a.ready["addresses"]} == {
                middle.announce.split("/")[2]
            }

    await in_thread(run)


def until_carrier(host: Host) -> None:
    """Wait until the second cable of a host carries."""
    deadline = time.monotonic() + DEADLINE
    while b"LOWER_UP" not in subprocess.check_output([*host.command, "ip", "link", "show", "eth1"]):
        assert time.monotonic() < deadline


async def test_a_flood_and_a_broken_responder_prevent_nothing(
    short_path: Path, network: CableNetwork
) -> None:
    """All the time one says useless things as fast as it can, and another what is no message, or loops."""
    hosts = [await network.host() for _ in range(4)]

    def run() -> None:
        with (
            node(short_path, "anna", hosts[0]) as a,
            node(short_path, "bruno", hosts[1]) as b,
            stranger("flood", hosts[2].command),
            stranger("garbage", hosts[3].command),
        ):
            pair(a, b)
            for up in (a, b):
                row = actor(up, "lan")
                assert row["restarts"] == 0
                assert int(str(row["private_bytes"])) < 12 << 20

    await in_thread(run)


async def test_killed_and_cut_off_during_a_search(short_path: Path, network: CableNetwork) -> None:
    """While the device that shows the code has no cable, actors of both are killed; then the cable is back.

    So each of them has learned anew what to do, and has noticed that the network is back.
    """
    one, other = await network.host(), await network.host()

    def run() -> None:
        with ExitStack() as stack:
            a = stack.enter_context(node(short_path, "anna", one))
            b = stack.enter_context(node(short_path, "bruno", other))
            trio.from_thread.run(one.pull)
            words, showing = stack.enter_context(sdnode_pair(a))
            joining = stack.enter_context(sdnode_started(b, "join", "--yes", *words.split()))
            until_searching(b)
            for up in (a, b):
                for name in ("lan", "discovery"):
                    before = actor(up, name)
                    os.kill(int(str(before["pid"])), signal.SIGKILL)
                    deadline = time.monotonic() + DEADLINE
                    while actor(up, name)["pid"] in (0, before["pid"]):
                        assert time.monotonic() < deadline
            trio.from_thread.run(one.plug)
            assert joining.wait(DEADLINE) == 0
            assert showing.wait(DEADLINE) == 0

    await in_thread(run)


def until_searching(up: UpCommand) -> None:
    deadline = time.monotonic() + DEADLINE
    while not any(str(row["actor"]).startswith("session-") for row in up.run("actors")):
        assert time.monotonic() < deadline


async def test_a_node_speaks_only_while_a_code_is_shown(short_path: Path, network: CableNetwork) -> None:
    """One without mDNS never; one with it announces the code, and takes it back afterwards."""
    hosts = [await network.host() for _ in range(3)]

    def run() -> None:
        with (
            stranger("listen", hosts[2].command) as listener,
            node(short_path, "carla", hosts[1], "--no-mdns") as c,
            node(short_path, "anna", hosts[0]) as a,
        ):
            with sdnode_pair(c) as (_words, _showing), sdnode_started(c, "join", *["abandon"] * 11, "about"):
                assert list(heard(listener, SILENCE_SECONDS)) == []
            with sdnode_pair(a) as (words, showing):
                shown = list(heard(listener, SILENCE_SECONDS))
                showing.send_signal(signal.SIGINT)
                showing.wait(DEADLINE)
                taken_back = list(heard(listener, SILENCE_SECONDS))
            assert len(shown) >= 2
            assert {ttl for ttl, _ in shown} == {TTL_SECONDS}
            assert {ttl for ttl, _ in taken_back} == {0}
            said = shown + taken_back
            assert {strings for _, strings in said} == {
                (f"p={a.ready['peer_id']}", f"a={a.ready['addresses'][0]}")
            }
            assert not any(word in str(said) for word in words.split())
            assert "lan" not in {row["actor"] for row in c.run("actors")}

    await in_thread(run)


def heard(listener: "subprocess.Popen[bytes]", seconds: float) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the time to live and the strings of each response that is heard within a time."""
    assert listener.stdout is not None
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not select.select([listener.stdout], [], [], left)[0]:
            return
        message = decode(bytes.fromhex(listener.stdout.readline().decode()))
        assert message.response
        pointer, text = message.records
        assert isinstance(pointer, Pointer)
        assert isinstance(text, Text)
        assert (pointer.name, pointer.target, pointer.ttl) == (SERVICE, text.name, text.ttl)
        yield text.ttl, tuple(string.decode() for string in text.strings)


async def test_status_says_what_mdns_does(short_path: Path, network: CableNetwork) -> None:
    """And lan says it again when it was killed."""
    host, other = await network.host(), await network.host()

    def run() -> None:
        with node(short_path, "anna", host) as a, node(short_path, "carla", other, "--no-mdns") as c:
            until_mdns(a, "idle", 0)
            assert c.run("status")[0]["mdns"] == {"state": "off", "interfaces": 0}
            with sdnode_pair(a) as (_words, showing):
                until_mdns(a, "announcing", 1)
                with sdnode_started(a, "join", *["abandon"] * 11, "about") as joining:
                    until_mdns(a, "both", 1)
                    os.kill(int(str(actor(a, "lan")["pid"])), signal.SIGKILL)
                    until_mdns(a, "both", 1)
                    trio.from_thread.run(host.pull)
                    until_mdns(a, "both", 0)
                    assert "no interface multicasts now" in str(a.run("status")[0]["who_can_pair"])
                    trio.from_thread.run(host.plug)
                    until_mdns(a, "both", 1)
                    joining.send_signal(signal.SIGINT)
                    joining.wait(DEADLINE)
                until_mdns(a, "announcing", 1)
                showing.send_signal(signal.SIGINT)
                showing.wait(DEADLINE)
            until_mdns(a, "idle", 0)

    await in_thread(run)


def until_mdns(up: UpCommand, state: str, interfaces: int) -> None:
    """Wait until the status of a node says so."""
    deadline = time.monotonic() + DEADLINE
    while (found := up.run("status")[0]["mdns"]) != {"state": state, "interfaces": interfaces}:
        assert time.monotonic() < deadline, found


async def test_who_asks_by_plain_dns_is_answered(short_path: Path, network: CableNetwork) -> None:
    one, other = await network.host(), await network.host()

    def run() -> None:
        with node(short_path, "anna", one) as a, sdnode_pair(a), stranger("ask", other.command) as asking:
            assert asking.stdout is not None
            assert select.select([asking.stdout], [], [], DEADLINE)[0]
            message = decode(bytes.fromhex(asking.stdout.readline().decode()))
            assert [record.ttl for record in message.records] == [10, 10]
            assert len(message.questions) == 1

    await in_thread(run)


async def test_another_program_with_mdns_on_the_same_host(short_path: Path, network: CableNetwork) -> None:
    """It has the port too, on both hosts: the nodes pair all the same, and it hears of the codes."""
    one, other = await network.host(), await network.host()

    def run() -> None:
        with (
            stranger("zeroconf", one.command) as here,
            stranger("zeroconf", other.command) as there,
            node(short_path, "anna", one) as a,
            node(short_path, "bruno", other) as b,
        ):
            pair(a, b)
            pair(b, a)
            for process in (here, there):
                assert process.stdout is not None
                assert select.select([process.stdout], [], [], DEADLINE)[0]
                assert process.stdout.readline().endswith(b"._spacedrive-pair._udp.local.\n")

    await in_thread(run)
