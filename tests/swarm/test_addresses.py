"""The closed set of multiaddr forms, and what is announced."""

import ipaddress

import pytest

from spacedrive_node.actors.swarm.dial import addresses
from spacedrive_node.actors.swarm.dial.addresses import AddressError
from spacedrive_node.actors.swarm.dial.interfaces import OwnAddress


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/tcp/4001"),
        ("/ip6/2001:DB8::0:1/tcp/4001", "/ip6/2001:db8::1/tcp/4001"),
        ("/dns4/node.example/tcp/80", "/dns4/node.example/tcp/80"),
        ("/ip6/::ffff:192.0.2.1/tcp/4001", "/ip4/192.0.2.1/tcp/4001"),
        ("/ip6/::FFFF:c000:201/tcp/4001", "/ip4/192.0.2.1/tcp/4001"),
        ("/ip6zone/eth0.5/ip6/fe80::1/tcp/4001", "/ip6zone/eth0.5/ip6/fe80::1/tcp/4001"),
        ("/ip6zone/3/ip6/FE80::1/tcp/4001/p2p/12D3KooW", "/ip6zone/3/ip6/fe80::1/tcp/4001"),
        ("/ip4/192.0.2.1/udp/1/quic-v1", "/ip4/192.0.2.1/udp/1/quic-v1"),
        ("/ip4/192.0.2.1/tcp/1/ws", "/ip4/192.0.2.1/tcp/1/ws"),
        ("/dns4/node.example/tcp/443/wss", "/dns4/node.example/tcp/443/tls/ws"),
        ("/dns/node.example/tcp/443/tls/ws/p2p/12D3Koo", "/dns/node.example/tcp/443/tls/ws"),
        ("/ip6/::1/tcp/443/tls/sni/a.example/ws", "/ip6/::1/tcp/443/tls/sni/a.example/ws"),
        (
            "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
            "/ip4/192.0.2.1/tcp/4001",
        ),
    ],
)
def test_allowed_forms(text: str, canonical: str) -> None:
    """Addresses come out in one form, without /p2p."""
    assert str(addresses.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/ip4/192.0.2.1",
        "/ip4/192.0.2.999/tcp/1",
        "/ip4/192.0.2.1/tcp/65536",
        "/ip4/192.0.2.1/udp/1/ws",
        "/ip4/192.0.2.1/tcp/1/tls",
        "/ip4/192.0.2.1/tcp/1/ws/http-path/reboot",
        "/ip4/192.0.2.1/tcp/1/tls/sni/-bad-/ws",
        "/ip4/192.0.2.1/udp/1/quic-v1/webtransport",
        "/ip4/192.0.2.1/tcp/1/p2p/12D3Koo/p2p-circuit",
        "/ip6/fe80::1%eth0/tcp/1",
        "/ip6zone/eth0/ip6/2001:db8::1/tcp/1",
        "/ip6zone/eth0/ip4/169.254.1.1/tcp/1",
        "/ip6zone/eth0/dns6/node.example/tcp/1",
        "/ip6zone/a-name-of-16-byt/ip6/fe80::1/tcp/1",
        "/ip6zone/eth0;id/ip6/fe80::1/tcp/1",
        "/ip6zone//ip6/fe80::1/tcp/1",
        "/ip6zone/eth0/tcp/1",
        "/dns4/-bad-/tcp/1",
        "/dnsaddr/bootstrap.example/tcp/1",
        "/unix/tmp/socket",
        "/ip4/192.0.2.1/tcp/1\n",
        "/dns4/" + "a" * 300 + "/tcp/1",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    """One exception for whatever is wrong."""
    with pytest.raises(AddressError):
        addresses.parse(text)


def test_a_name_that_was_resolved_is_still_the_one_of_the_certificate() -> None:
    """Of an address with TLS; another has no use for it."""
    ip = ipaddress.ip_address("192.0.2.1")
    secure = addresses.parse("/dns4/node.example/tcp/443/wss").with_ip(ip)
    assert str(secure) == "/ip4/192.0.2.1/tcp/443/tls/sni/node.example/ws"
    assert str(secure.with_ip(ipaddress.ip_address("::1"))) == "/ip6/::1/tcp/443/tls/sni/node.example/ws"
    assert str(addresses.parse("/dns4/node.example/tcp/80/ws").with_ip(ip)) == "/ip4/192.0.2.1/tcp/80/ws"


def test_only_what_can_be_dialled_is_used() -> None:
    """Unspecified, multicast, port 0, repeats and whatever is beyond the 32nd are left out."""
    mapped = ["/ip6/::ffff:0.0.0.0/tcp/1", "/ip6/::ffff:224.0.0.1/tcp/1"]
    plain = ["/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1/tcp/1"]
    texts = [*mapped, *plain] * 2
    assert [str(one) for one in addresses.usable(texts)] == ["/ip4/192.0.2.1/tcp/1"]
    assert len(addresses.usable([f"/ip4/192.0.2.1/tcp/{port}" for port in range(1, 100)])) == 32


def test_blocks() -> None:
    """/24 and /56; an IPv4 address inside IPv6 counts as what it is."""
    assert addresses.block_of("192.0.2.77") == addresses.block_of("::ffff:192.0.2.1") == "192.0.2.0/24"
    assert addresses.block_of("2001:db8:0:ff::1") == "2001:db8::/56"
    assert addresses.block_of("nonsense") is None


def own(*texts: str, rank: int = 0) -> list[OwnAddress]:
    """Addresses of this host, on interfaces of one rank."""
    return [OwnAddress(ipaddress.ip_address(text), rank) for text in texts]


def test_what_is_announced() -> None:
    """Interfaces for 0.0.0.0, loopback apart; loopback only when there is nothing else."""
    found = own("192.0.2.9", "2001:db8::9")
    everywhere, loopback = addresses.parse("/ip4/0.0.0.0/tcp/7"), addresses.parse("/ip4/127.0.0.1/tcp/8")
    assert addresses.announced([everywhere, loopback], (), found) == (
        ("/ip4/192.0.2.9/tcp/7",),
        ("/ip4/127.0.0.1/tcp/7", "/ip4/127.0.0.1/tcp/8"),
    )
    assert addresses.announced([loopback], (), found)[0] == ("/ip4/127.0.0.1/tcp/8",)
    assert addresses.announced([everywhere], (), [])[0] == ("/ip4/127.0.0.1/tcp/7",)


def test_what_the_user_has_configured_is_announced_as_it_is() -> None:
    """However much it is: only the QR text has no room for more than four."""
    everywhere = [addresses.parse("/ip4/0.0.0.0/tcp/7")]
    named = tuple(f"/dns4/a.example/tcp/{port}" for port in range(1, 7))
    assert addresses.announced(everywhere, named, own("192.0.2.9"))[0] == named


def test_what_is_announced_is_in_the_order_of_the_interfaces() -> None:
    """Across IP versions; an address that was named comes first."""
    everywhere = [
        addresses.parse(text) for text in ("/ip6/::/tcp/7", "/ip4/0.0.0.0/tcp/7", "/ip4/10.1.1.1/tcp/8")
    ]
    found = [*own("192.0.2.9", "2001:db8::9"), *own("172.17.0.1", rank=2)]
    assert addresses.announced(everywhere, (), found)[0] == (
        "/ip4/10.1.1.1/tcp/8",
        "/ip4/192.0.2.9/tcp/7",
        "/ip6/2001:db8::9/tcp/7",
        "/ip4/172.17.0.1/tcp/7",
    )


def test_the_best_four_are_announced() -> None:
    """By default: TCP and QUIC over IPv4 and IPv6 at the default route, and nothing of a bridge."""
    everywhere = [
        addresses.parse(ip + form)
        for form in ("/tcp/7", "/udp/7/quic-v1")
        for ip in ("/ip4/0.0.0.0", "/ip6/::")
    ]
    found = [
        *own("192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"),
        *own("198.51.100.1", rank=1),
        *own("172.17.0.1", rank=2),
    ]
    four = (
        "/ip4/192.0.2.1/tcp/7",
        "/ip4/192.0.2.1/udp/7/quic-v1",
        "/ip6/2001:db8::1/tcp/7",
        "/ip6/2001:db8::1/udp/7/quic-v1",
    )
    assert addresses.announced(everywhere, (), found)[0] == four
    only_ip4 = [one for one in found if one.ip.version == 4]
    assert addresses.announced(everywhere, (), only_ip4)[0] == (
        *four[:2], "/ip4/192.0.2.2/tcp/7", "/ip4/192.0.2.2/udp/7/quic-v1"
    )  # fmt: skip


def test_where_a_link_local_address_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind its interface, by number; behind the first four if there is no such one; others as they are."""
    zones = [("eth0", 2), ("wlan0", 3), ("br0", 4), ("tap0", 5), ("tap1", 6)]
    monkeypatch.setattr(addresses.interfaces, "zones", lambda: zones)

    def dialled(text: str) -> list[str]:
        return [str(one) for one in addresses.with_zones(addresses.parse(text))]

    assert dialled("/ip6zone/wlan0/ip6/fe80::1/tcp/1") == ["/ip6zone/3/ip6/fe80::1/tcp/1"]
    assert dialled("/ip6zone/5/ip6/fe80::1/tcp/1") == ["/ip6zone/5/ip6/fe80::1/tcp/1"]
    for text in ("/ip6/fe80::1/tcp/1", "/ip6zone/en0/ip6/fe80::1/tcp/1"):
        assert dialled(text) == [f"/ip6zone/{number}/ip6/fe80::1/tcp/1" for number in (2, 3, 4, 5)]
    for text in ("/ip4/169.254.1.1/tcp/1", "/ip6/2001:db8::1/tcp/1", "/dns/node.example/tcp/1"):
        assert dialled(text) == [text]
