"""Messages and vouchers: what is written can be read, and nothing else is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage

from spacedrive_node.actors.swarm.relay import messages, vouchers
from spacedrive_node.actors.swarm.relay.messages import (
    Answer,
    Connect,
    Limit,
    RelayMessageError,
    Reservation,
    Reserve,
    Status,
)
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.library_hosts import keys

RELAY, PEER = (keys(number).public_key for number in (1, 2))
RELAY_ID, PEER_ID = (bytes.fromhex("002408011220") + key.to_bytes() for key in (RELAY, PEER))
LIMIT = Limit(300, 1 << 20)
READERS = (
    messages.read_hop_request,
    messages.read_hop_answer,
    messages.read_stop_request,
    messages.read_stop_answer,
)


def body(framed: bytes) -> bytes:
    """A message without its length, which is short enough here for one or two bytes."""
    return framed[1:] if framed[0] < 0x80 else framed[2:]


def test_what_is_written_can_be_read() -> None:
    """All five kinds, with everything that they can hold."""
    text = peer_id_text(RELAY_ID)
    granted = Reservation(1_800_000_000, ("/ip4/192.0.2.1/tcp/1", "/dns4/relay.example/tcp/2"), b"voucher")
    told = Reservation(
        1_800_000_000, tuple(f"{one}/p2p/{text}" for one in granted.addresses), granted.voucher
    )
    assert messages.read_hop_request(body(messages.reserve_request())) == Reserve()
    assert messages.read_hop_request(body(messages.connect_request(PEER_ID))) == Connect(PEER_ID)
    answer = messages.hop_status(Status.OK, LIMIT, granted, text)
    assert messages.read_hop_answer(body(answer)) == Answer(100, told, LIMIT)
    assert messages.read_stop_request(body(messages.stop_request(PEER_ID, LIMIT))) == Connect(PEER_ID, LIMIT)
    assert messages.read_stop_answer(body(messages.stop_status(Status.PERMISSION_DENIED))).status == 202


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_or_read(data: bytes) -> None:
    """There is one exception, and nothing that is read is out of bounds."""
    for read in READERS:
        try:
            found = read(data)
        except RelayMessageError:
            continue
        if isinstance(found, Connect):
            assert 0 < len(found.peer) <= 64


def test_a_message_of_another_kind_is_refused() -> None:
    """A status where a request belongs, a request where a status belongs, a request for no peer."""
    with pytest.raises(RelayMessageError):
        messages.read_hop_request(body(messages.hop_status(Status.OK)))
    with pytest.raises(RelayMessageError):
        messages.read_hop_answer(body(messages.reserve_request()))
    with pytest.raises(RelayMessageError):
        messages.read_hop_request(HopMessage(type=HopMessage.CONNECT).SerializeToString())
    with pytest.raises(RelayMessageError):
        messages.read_hop_request(body(messages.connect_request(bytes(65))))


def test_a_voucher_is_the_relay_s_word_for_this_peer() -> None:
    """Signed by another, for another, by another's name, changed, or of another domain: refused."""
    good = vouchers.sign_voucher(keys(1).private_key, RELAY_ID, PEER_ID, 1)
    vouchers.check_voucher(good, RELAY_ID, PEER_ID)
    bad = [
        vouchers.sign_voucher(keys(2).private_key, RELAY_ID, PEER_ID, 1),
        vouchers.sign_voucher(keys(1).private_key, RELAY_ID, RELAY_ID, 1),
        vouchers.sign_voucher(keys(1).private_key, PEER_ID, PEER_ID, 1),
        good[:-1] + bytes([good[-1] ^ 1]),
        good.replace(b"\x03\x02", b"\x03\x01"),
        b"",
        b"\xff" * 64,
        bytes(2000),
    ]
    for data in bad:
        with pytest.raises(vouchers.VoucherError):
            vouchers.check_voucher(data, RELAY_ID, PEER_ID)
