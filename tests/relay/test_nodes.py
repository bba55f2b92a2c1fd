"""Whole nodes in two homes with no route between them: they pair with twelve words, through a third node."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.faults.parted_network import (
    PORT,
    SERVER_IP,
    NoNamespacesError,
    PartedNetwork,
    parted_network,
)
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_pair, sdnode_up


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one, for the paths of sockets."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as folder:
        yield Path(folder)


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
def relay_node(folder: Path, network: PartedNetwork, ip: str = SERVER_IP, port: int = PORT) -> Iterator[str]:
    """Run a relay that is a DHT server too; gives its address with its peer id."""
    address = f"/ip4/{ip}/tcp/{port}"
    flags = ("--relay-service", "--announce", address, "--dht-mode", "server")
    with node(folder, f"relay{port}", network.server, *flags, listen=address) as up:
        yield f"{address}/p2p/{up.ready['peer_id']}"


def test_two_homes_pair_by_words_alone(tmp_path: Path, network: PartedNetwork) -> None:
    """Each in turn shows the words; the path of the confirmation is a relayed one on both sides."""
    with ExitStack() as stack:
        relay = stack.enter_context(relay_node(tmp_path, network))
        flags = ("--bootstrap", relay, "--relay", relay)
        nodes = [
            stack.enter_context(node(tmp_path, name, network.home(), *flags)) for name in ("anna", "bruno")
        ]
        for one, other in (nodes, reversed(nodes)):
            with sdnode_pair(one) as (words, showing):
                joined = other.run("join", "--yes", *words.split())[-1]
                assert (joined["event"], joined["path"]) == ("paired", "relayed")
                assert showing.wait(DEADLINE) == 0
                assert showing.stdout is not None
                assert '"path":"relayed"' in showing.stdout.read().replace(" ", "")
