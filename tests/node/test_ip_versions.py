"""Hosts with IPv4 alone, with IPv6 alone, with both, and with nothing but link-local addresses.

Each host is a network namespace on one bridge, and each node on it listens where a node does by default.
"""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from spacedrive_node.client.node_client import open_client
from spacedrive_node.tests.harness.faults.cable_network import PORT, Addressing, Host, open_network
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_pair, sdnode_up

pytestmark = pytest.mark.timeout(180)
ZONE = "/ip6zone/eth0"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes, and pytest's own folders come near that."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as folder:
        yield Path(folder)


def up(
    folder: Path, name: str, host: Host, bootstrap: str = "", listen: str | None = None
) -> AbstractContextManager[UpCommand]:
    flags = ("--bootstrap", bootstrap) if bootstrap else ()
    return sdnode_up(folder, name, "--no-same-host", *flags, command=host.command, listen=listen)


def at(address: str, node: UpCommand) -> str:
    return f"{address}/p2p/{node.ready['peer_id']}"


def pair(shows: UpCommand, joins: UpCommand) -> None:
    """Pair two nodes by words."""
    with sdnode_pair(shows) as (words, shown):
        events = joins.run("join", "-", stdin=f"{words}\ny\n")
        assert events[-1]["event"] == "paired"
        assert shown.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("addressing", "families", "missing"),
    [
        ("ip4", {"ip4"}, ["IPv6"]),
        ("ip6", {"ip6"}, ["IPv4"]),
        ("both", {"ip4", "ip6"}, []),
        ("link", {"ip6"}, ["IPv4"]),
    ],
)
async def test_two_hosts_of_one_kind_pair(
    tmp_path: Path, addressing: Addressing, families: set[str], missing: list[str]
) -> None:
    """By the default configuration; each announces what it has, on one port, and logs what is missing."""
    async with open_network() as network:
        one, other = await network.host(addressing), await network.host(addressing)
        with up(tmp_path, "anna", one) as a, up(tmp_path, "bruno", other, at(one.announce, a)) as b:
            for node in (a, b):
                announced = [address.split("/") for address in node.ready["addresses"]]
                assert {parts[1] for parts in announced} == families
                assert {parts[4] for parts in announced} == {str(PORT)}
                said = [line for line in node.log().splitlines() if "no address of an IP version now" in line]
                assert [line.rpartition("version=")[2] for line in said] == missing
            pair(a, b)


@pytest.mark.parametrize("addressing", ["ip4", "ip6"])
async def test_a_host_of_one_kind_pairs_with_one_of_both(tmp_path: Path, addressing: Addressing) -> None:
    """The code's text names both kinds of address, four at most; the other kind costs the joiner nothing."""
    async with open_network() as network:
        both, single = await network.host("both"), await network.host(addressing)
        with up(tmp_path, "anna", single) as a, up(tmp_path, "bruno", both, at(single.announce, a)) as b:
            async with open_client(Path(b.ready["control"])) as client:
                showing = await client.start_pairing()
                named = parse_qs(urlsplit(showing.code.qr).query)["a"]
                assert named == b.ready["addresses"]
                kinds = {(address.split("/")[1], address.split("/")[3]) for address in named}
                assert kinds == {(ip, kind) for ip in ("ip4", "ip6") for kind in ("tcp", "udp")}
                assert len(named) == 4
            pair(b, a)


@pytest.mark.parametrize("addressing", ["ip4", "ip6"])
async def test_offline_on_a_host_of_one_kind(tmp_path: Path, addressing: Addressing) -> None:
    """A host without IPv6 has no ::1 either; loopback of IPv4 is there on any."""
    async with open_network() as network:
        host = await network.host(addressing)
        with sdnode_up(tmp_path, "anna", "--offline", command=host.command, listen=None) as a:
            found = {address.split("/")[2] for address in a.ready["addresses"]}
            assert found == ({"127.0.0.1"} if addressing == "ip4" else {"127.0.0.1", "::1"})
            assert ("IP version missing" in a.log()) is (addressing == "ip4")


@pytest.mark.parametrize("transport", ["/tcp/", "/quic-v1"])
@pytest.mark.parametrize("zone", ["", "/ip6zone/wlan7"])
async def test_a_link_local_address_without_its_zone(tmp_path: Path, zone: str, transport: str) -> None:
    """It is looked for behind each interface; so is one whose interface only others have."""
    async with open_network() as network:
        one, other = await network.host("link"), await network.host("link")
        with up(tmp_path, "anna", one) as a:
            addresses = a.ready["addresses"]
            assert len(addresses) == 2
            assert all(one.startswith("/ip6/fe80::") for one in addresses)
            (address,) = [one for one in addresses if transport in one]
            with up(tmp_path, "bruno", other, at(zone + address, a)) as b:
                pair(a, b)


@pytest.mark.parametrize("form", ["/tcp/7520", "/udp/7520/quic-v1", "/tcp/7520/ws"])
async def test_a_node_that_listens_on_a_link_local_address(tmp_path: Path, form: str) -> None:
    """With its interface in the configuration; without, the message says what is missing."""
    async with open_network() as network:
        one, other = await network.host("link"), await network.host("link")
        at_link = one.listen.removesuffix(f"/tcp/{PORT}") + form
        with up(tmp_path, "anna", one, listen=at_link) as a:
            assert a.ready["addresses"] == [at_link.removeprefix(ZONE)]
            with up(tmp_path, "bruno", other, at(at_link, a)) as b:
                pair(a, b)
        for listen, problem in (
            (one.announce.removeprefix(ZONE), "a link-local address needs its interface"),
            (one.announce.replace("eth0", "eth7"), "no interface eth7"),
        ):
            with pytest.raises(AssertionError, match=problem):
                UpCommand(tmp_path, "carla", command=one.command, listen=listen)
