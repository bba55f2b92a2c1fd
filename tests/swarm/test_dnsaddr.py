"""From a name to the addresses of one peer: what counts, and where loops, depths and crowds end."""

from collections.abc import Mapping, Sequence

import pytest

from spacedrive_node.actors.swarm.names import dnsaddr
from spacedrive_node.actors.swarm.names.dnsaddr import Expansion, name_in
from spacedrive_node.protocol.peer_ids import peer_id_from_text

TEXT = "QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"
OTHER = "QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa"
PEER = peer_id_from_text(TEXT)


def expand(
    zone: Mapping[str, Sequence[str]], name: str = "boot.example"
) -> tuple[tuple[str, ...], list[str]]:
    """Return the addresses, and which names were asked for."""
    expansion = Expansion(name, PEER)
    asked = []
    while (wanted := expansion.next_name()) is not None:
        asked.append(wanted)
        assert len(asked) < 1000
        expansion.take(zone.get(wanted, []))
    return expansion.addresses, asked


def record(address: str, peer: str = TEXT) -> str:
    return f"dnsaddr={address}/p2p/{peer}"


def test_the_addresses_of_the_peer_and_of_nobody_else() -> None:
    found, asked = expand(
        {
            "_dnsaddr.boot.example": [
                record("/ip4/192.0.2.1/tcp/4001"),
                record("/ip4/192.0.2.2/tcp/4001", OTHER),
                record("/ip6/2001:db8::1/udp/4001/quic-v1"),
                "dnsaddr=/ip4/192.0.2.3/tcp/4001",
                "v=spf1 -all",
            ]
        }
    )
    assert found == ("/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/udp/4001/quic-v1")
    assert asked == ["_dnsaddr.boot.example"]


def test_a_name_that_leads_to_names() -> None:
    """As the public network has it: one name for all its servers, and one for each."""
    found, asked = expand(
        {
            "_dnsaddr.boot.example": [
                record("/dnsaddr/a.boot.example"),
                record("/dnsaddr/b.boot.example", OTHER),
            ],
            "_dnsaddr.a.boot.example": [
                record("/dns4/a.boot.example/tcp/443/wss"),
                record("/ip4/192.0.2.1/tcp/4001"),
                record("/ip4/192.0.2.1/udp/4001/quic-v1/webtransport"),
            ],
        }
    )
    assert found == ("/dns4/a.boot.example/tcp/443/tls/ws", "/ip4/192.0.2.1/tcp/4001")
    assert asked == ["_dnsaddr.boot.example", "_dnsaddr.a.boot.example"]


def test_names_in_a_circle() -> None:
    zone = {
        "_dnsaddr.boot.example": [record("/dnsaddr/a.example"), record("/dnsaddr/BOOT.example")],
        "_dnsaddr.a.example": [record("/dnsaddr/boot.example"), record("/dnsaddr/a.example.")],
    }
    assert expand(zone) == ((), ["_dnsaddr.boot.example", "_dnsaddr.a.example"])


def test_a_chain_ends_at_its_depth() -> None:
    zone = {f"_dnsaddr.{n}.example": [record(f"/dnsaddr/{n + 1}.example")] for n in range(100)}
    found, asked = expand(zone, "0.example")
    assert found == ()
    assert len(asked) == dnsaddr.MAX_DEPTH


def test_a_tree_of_names_ends_at_their_number() -> None:
    every = [record(f"/dnsaddr/{n}.example") for n in range(1000)]
    zone = {"_dnsaddr.boot.example": every} | {
        f"_dnsaddr.{n}.example": [record(f"/dnsaddr/{n}-{more}.example") for more in range(100)]
        for n in range(1000)
    }
    assert len(expand(zone)[1]) == dnsaddr.MAX_NAMES


def test_a_thousand_addresses() -> None:
    zone = {"_dnsaddr.boot.example": [record(f"/ip4/192.0.2.1/tcp/{port}") for port in range(1, 1001)]}
    assert len(expand(zone)[0]) == dnsaddr.MAX_ADDRESSES


@pytest.mark.parametrize(
    "text",
    [
        "dnsaddr=",
        "dnsaddr=/p2p/" + TEXT,
        record("/ip4/192.0.2.1/tcp/4001") + "/p2p/x",
        record("/ip4/192.0.2.1/tcp/99999"),
        record("/ip4/192.0.2.1/tcp/4001/p2p-circuit"),
        record("/ip6zone/eth0/ip6/fe80::1/tcp/4001"),
        record("/dnsaddr/"),
        record("/dnsaddr/.."),
        record("/dnsaddr/a b"),
        record("/dnsaddr/" + "a" * 300),
        record("/ip4/192.0.2.1/tcp/4001", "x" * 500),
        "DNSADDR=/ip4/192.0.2.1/tcp/4001/p2p/" + TEXT,
    ],
)
def test_what_counts_for_nothing(text: str) -> None:
    assert expand({"_dnsaddr.boot.example": [text]}) == ((), ["_dnsaddr.boot.example"])


def test_names_in_addresses() -> None:
    assert name_in("/dnsaddr/Boot.Example.") == "boot.example"
    assert name_in("/dns4/boot.example/tcp/1") is None
    assert name_in("/dnsaddr/boot.example/tcp/1") is None
