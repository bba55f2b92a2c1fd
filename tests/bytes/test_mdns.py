"""Mutated and random packets of mDNS, at the reader and at the whole actor: bounded, little comes of them."""

from ipaddress import ip_interface

from spacedrive_node.actors.lan.browser import MAX_DEVICES
from spacedrive_node.actors.lan.dns_messages import (
    MAX_RECORDS,
    PTR,
    TXT,
    DnsError,
    Pointer,
    Question,
    decode,
    query,
    response,
)
from spacedrive_node.actors.lan.interfaces import Interface
from spacedrive_node.actors.lan.lan import Lan
from spacedrive_node.actors.lan.packets import MDNS_PORT
from spacedrive_node.actors.lan.service import SERVICE, encoded_records, instance_name, strings_of
from spacedrive_node.messages.to_lan import Announce, Browse
from spacedrive_node.tests.harness.hostile_bytes import case_count, hostile_samples
from spacedrive_node.tests.harness.sample_frames import PEER

INSTANCE = "0123456789abcdef"
RECORDS = encoded_records(INSTANCE, strings_of(PEER, ["/ip4/10.0.0.2/tcp/7520", "/ip6/fd00::2/tcp/7520"]))
LOOP = response(RECORDS)[:12] + b"\xc0\x0e\xc0\x0c" + bytes(10)
SAMPLES = [
    response(RECORDS * 8),
    response(RECORDS, id=7, questions=[Question(SERVICE, PTR)]),
    query([Question(SERVICE, PTR, unicast=True), Question(instance_name(INSTANCE), TXT)]),
    LOOP,
]


def test_packets_are_refused_or_read_in_bounds() -> None:
    """With DnsError and nothing else."""
    read = 0
    for data in hostile_samples(13, case_count(4000), SAMPLES):
        try:
            message = decode(data)
        except DnsError:
            continue
        read += 1
        assert len(message.records) + len(message.questions) <= MAX_RECORDS
        names = [question.name for question in message.questions]
        for record in message.records:
            names += [record.name, *([record.target] if isinstance(record, Pointer) else [])]
        assert all(sum(len(label) + 1 for label in name) < 255 for name in names)
    assert 0 < read < case_count(4000)


def test_an_actor_that_hears_them_believes_nothing_but_its_own_network() -> None:
    """And says little. Each packet comes from another device, so that none is dropped for its number."""
    lan = Lan(random=lambda: 0.5)
    lan.set_interfaces([Interface(2, (ip_interface("10.0.0.1/8"), ip_interface("fd00::1/64")))], 0.0)
    lan.handle(Announce(INSTANCE, PEER, ("/ip4/0.0.0.0/tcp/7520",)), 0.0)
    lan.handle(Browse(INSTANCE), 0.0)
    found, sent = [], 0
    cases = case_count(4000)
    for number, data in enumerate(hostile_samples(14, cases, SAMPLES)):
        now = number / 10
        sender = f"10.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        found += lan.handle_packet(data, sender, MDNS_PORT, 2, now)
        sent += len(lan.poll(now))
    assert 0 < len(found) <= 4 * MAX_DEVICES
    for peer in found:
        assert peer.instance == INSTANCE
        assert all(text.startswith(("/ip4/10.", "/ip6/fd00::")) for text in peer.named.addresses)
    assert sent < 2 * cases
