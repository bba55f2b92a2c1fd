"""Whole nodes in two homes with no route between them: they pair with twelve words, through a third node."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from spacedrive_node.client.node_client import NodeClient, Pairing, open_client
from spacedrive_node.tests.harness.faults.parted_network import (
    OTHER_SERVER_IP,
    PORT,
    SERVER_IP,
    NoNamespacesError,
    PartedNetwork,
    parted_network,
)
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_pair, sdnode_up


@pytest.fixture
def network() -> Iterator[PartedNetwork]:
    try:
        with parted_network() as found:
            yield found
    except NoNamespacesError:
        pytest.skip("needs the right to make network namespaces")


@contextmanager
def node(
    folder: Path, name: str, command: tuple[str, ...], *flags: str, listen: str | None = None
) -> Iterator[UpCommand]:
    place = folder / name
    place.mkdir(mode=0o700, exist_ok=True)
    with sdnode_up(
        place, name, "--no-same-host", "--log-format", "json", *flags, command=command, listen=listen
    ) as up:
        yield up


@contextmanager
def relay_node(
    folder: Path, network: PartedNetwork, *flags: str, ip: str = SERVER_IP
) -> Iterator[tuple[UpCommand, str]]:
    """Run a relay that is a DHT server too; gives it, and its address with its peer id."""
    address = f"/ip4/{ip}/tcp/{PORT}"
    more = ("--relay-service", "--announce", address, "--dht-mode", "server", *flags)
    with node(folder, f"relay-{ip}", network.server, *more, listen=address) as up:
        yield up, f"{address}/p2p/{up.ready['peer_id']}"


def kill(up: UpCommand) -> None:
    """End a node as a power cut does."""
    os.kill(up.process.pid, signal.SIGKILL)
    up.process.wait(DEADLINE)


async def until(client: NodeClient, holds: Callable[[tuple[str, ...]], bool]) -> None:
    """Wait until what a node announces fulfils a condition."""
    with trio.fail_after(DEADLINE):
        while not holds((await client.status()).addresses):
            await trio.lowlevel.checkpoint()


def leads_through(ip: str) -> Callable[[tuple[str, ...]], bool]:
    return lambda addresses: any(ip in one and "p2p-circuit" in one for one in addresses)


async def shown_devices(*pairings: Pairing) -> None:
    """Wait until both users see the other device, and the same digits."""
    with trio.fail_after(DEADLINE):
        assert len({(await one.confirmation()).check for one in pairings}) == 1


async def confirmed(*pairings: Pairing) -> list[str | None]:
    """Let both users accept; return the path of each side."""
    await shown_devices(*pairings)
    with trio.fail_after(DEADLINE):
        for one in pairings:
            await one.accept()
        return [(await one.paired()).path for one in pairings]


def test_two_homes_pair_by_words_alone(short_path: Path, network: PartedNetwork) -> None:
    """Each in turn shows the words, one that was told of a relay, and one that has found it in the DHT.

    The path of the confirmation is a relayed one on both sides.
    """
    with ExitStack() as stack:
        _relay, at = stack.enter_context(relay_node(short_path, network))
        nodes = [
            stack.enter_context(node(short_path, name, network.home(), "--bootstrap", at, *flags))
            for name, flags in (("anna", ("--relay", at)), ("bruno", ()))
        ]
        for one, other in (nodes, reversed(nodes)):
            with sdnode_pair(one) as (words, showing):
                joined = other.run("join", "--yes", *words.split())[-1]
                assert (joined["event"], joined["path"]) == ("paired", "relayed")
                assert showing.wait(DEADLINE) == 0
                assert showing.stdout is not None
                assert '"path":"relayed"' in showing.stdout.read().replace(" ", "")


async def test_relays_die_while_a_code_is_shown_and_while_the_users_decide(
    short_path: Path, network: PartedNetwork
) -> None:
    """First one of two, after the code was announced; then the other, when the first has come back.

    The code, its announcement and the pairing outlive both. What the joiner had found leads nowhere then: the
    other side has told it of its new address, while there was a connection.
    """
    with ExitStack() as stack:
        one, at_one = stack.enter_context(relay_node(short_path, network))
        other, at_other = stack.enter_context(
            relay_node(short_path, network, "--bootstrap", at_one, ip=OTHER_SERVER_IP)
        )
        servers = ("--bootstrap", at_one, "--bootstrap", at_other)
        relays = ("--relay", at_one, "--relay", at_other)
        anna = stack.enter_context(node(short_path, "anna", network.home(), *servers, *relays))
        bruno = stack.enter_context(node(short_path, "bruno", network.home(), *servers))
        async with (
            open_client(Path(anna.ready["control"])) as showing,
            open_client(Path(bruno.ready["control"])) as joining,
        ):
            for ip in (SERVER_IP, OTHER_SERVER_IP):
                await until(showing, leads_through(ip))
            first = await showing.start_pairing()
            kill(one)
            assert first.code.qr is not None  # which leads through the dead one too, and to private addresses
            joined = await joining.join_pairing(first.code.qr, timeout=DEADLINE)
            assert await confirmed(first, joined) == ["relayed", "relayed"]

            await until(showing, lambda addresses: not leads_through(SERVER_IP)(addresses))
            second = await showing.start_pairing()  # who joins hears of the other relay alone
            joined = await joining.join_pairing(" ".join(second.code.words), timeout=DEADLINE)
            await shown_devices(second, joined)
            stack.enter_context(relay_node(short_path, network))
            await until(showing, leads_through(SERVER_IP))
            kill(other)
            assert await confirmed(second, joined) == ["relayed", "relayed"]


async def test_the_swarms_of_all_three_are_killed_while_a_code_is_shown(
    short_path: Path, network: PartedNetwork
) -> None:
    """Each comes back as it was, reserves again and is found again; the users notice nothing."""
    with ExitStack() as stack:
        relay, at = stack.enter_context(relay_node(short_path, network))
        anna, bruno = [
            stack.enter_context(node(short_path, name, network.home(), "--bootstrap", at))
            for name in ("anna", "bruno")
        ]
        async with (
            open_client(Path(anna.ready["control"])) as showing,
            open_client(Path(bruno.ready["control"])) as joining,
        ):
            await until(showing, leads_through(SERVER_IP))
            shown = await showing.start_pairing()
            for up in (relay, anna, bruno):
                (swarm,) = [row for row in up.run("actors") if row["actor"] == "swarm"]
                os.kill(int(str(swarm["pid"])), signal.SIGKILL)
            joined = await joining.join_pairing(" ".join(shown.code.words), timeout=DEADLINE)
            assert await confirmed(shown, joined) == ["relayed", "relayed"]
