"""Mutated and random bytes at every decoder that meets bytes of others: refused, or read as they stand."""

import contextlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from spacedrive_node.actors.discovery.same_host import Registration, SameHost
from spacedrive_node.actors.session import state
from spacedrive_node.actors.swarm.kad.dht_client import MAX_CLOSER_PEERS, MAX_PROVIDERS, decode_answer
from spacedrive_node.actors.swarm.relay import messages, vouchers
from spacedrive_node.messages.base import FrameReader, MalformedMessageError, encode
from spacedrive_node.messages.peer_protocol import (
    decode_decision,
    decode_device_info,
    decode_identity,
    decode_wire,
)
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.code import CodeError, parse_code, parse_words, qr_payload
from spacedrive_node.protocol.peer_ids import peer_id_from_text, peer_id_text
from spacedrive_node.tests.harness.hostile_bytes import case_count, hostile_samples
from spacedrive_node.tests.harness.library_hosts import keys
from spacedrive_node.tests.harness.message_unions import UNIONS, members
from spacedrive_node.tests.harness.sample_frames import FRAMES, PEER, kad_samples
from spacedrive_node.tests.harness.session_simulation import pair


@pytest.mark.parametrize("decode", [decode_wire, decode_device_info, decode_identity, decode_decision])
def test_what_is_accepted_from_the_wire_is_canonical(decode: Any) -> None:
    """A frame is refused with MalformedMessageError, or it is exactly what its reading is written as."""
    accepted = 0
    for data in hostile_samples(1, case_count(4000), FRAMES):
        try:
            message = decode(data)
        except MalformedMessageError:
            continue
        accepted += 1
        assert encode(message) == data
        again = msgpack.unpackb(data, raw=False, strict_map_key=True)
        assert msgpack.packb(again, use_bin_type=True) == data
    assert accepted < case_count(4000)


def samples_of(union: Any) -> list[bytes]:
    """Members with the simplest values, as far as those are allowed."""
    found = [b"\x81\xa1t" + msgpack.packb(cls.__name__) for cls in members(union)]
    for cls in members(union):
        fields = {name: _guess(name) for name in cls.__struct_fields__}
        found.append(msgpack.packb({"t": cls.__name__, **fields}))
    return found


def _guess(name: str) -> Any:
    guesses = {
        "session": "0" * 16,
        "key": bytes(16),
        "peer": PEER,
        "own_peer": PEER,
        "frame": b"f",
        "lifetime": 60.0,
        "timeout": 60.0,
        "addresses": ["/ip4/127.0.0.1/tcp/1"],
        "role": "initiator",
        "outcome": "paired",
        "actor": "swarm",
        "text": "x",
        "name": "x",
    }
    return guesses.get(name, 1 if name in ("request", "id", "v", "input") else bytes(32))


@pytest.mark.parametrize(("union", "decoder"), UNIONS.values(), ids=UNIONS)
def test_unions_refuse_with_one_exception(union: Any, decoder: Any) -> None:
    """Of every union between our processes and of the control socket."""
    samples = samples_of(union)
    for data in hostile_samples(2, case_count(1500), samples):
        with contextlib.suppress(MalformedMessageError):
            decoder(data)


def test_a_frame_reader_keeps_no_more_than_its_limit() -> None:
    """Any bytes, in any pieces: whole frames, MalformedMessageError, or a bounded wait for more."""
    for data in hostile_samples(3, case_count(2000), [len(f).to_bytes(4, "big") + f for f in FRAMES]):
        reader = FrameReader(1024)
        with contextlib.suppress(MalformedMessageError):
            for place in range(0, len(data), 7):
                reader.feed(data[place : place + 7])
                while reader.next_frame() is not None:
                    pass
                assert reader.pending <= 1024 + 4 + 7


def test_kademlia_answers_are_bounded_and_readable() -> None:
    """ValueError, or at most so many peers with addresses that messages to discovery take."""
    decoder = msgspec.msgpack.Decoder(PeerAddresses)
    for data in hostile_samples(4, case_count(800), kad_samples()):
        try:
            closer, providers = decode_answer(data, b"own")
        except ValueError:
            continue
        assert len(closer) <= MAX_CLOSER_PEERS
        assert len(providers) <= MAX_PROVIDERS
        for peer in (*closer, *providers):
            decoder.decode(encode(peer))


def test_messages_of_relays_refuse_with_one_exception() -> None:
    """HOP, STOP and vouchers: their one exception, or what is within bounds and can be written again."""
    voucher = vouchers.sign_voucher(keys(1).private_key, PEER, PEER, 1 << 40)
    granted = messages.Reservation(1 << 31, ("/ip4/192.0.2.1/tcp/1",), voucher)
    limit = messages.Limit(300, 1 << 20)
    samples = [
        messages.reserve_request()[1:],
        messages.connect_request(PEER)[1:],
        messages.hop_status(messages.Status.OK, limit, granted, peer_id_text(PEER))[2:],
        messages.stop_request(PEER, limit)[1:],
        messages.stop_status(messages.Status.OK)[1:],
        voucher,
    ]
    for data in hostile_samples(11, case_count(1500), samples):
        for read in (messages.read_hop_request, messages.read_stop_request):
            with contextlib.suppress(messages.RelayMessageError):
                request = read(data)
                if isinstance(request, messages.Connect):
                    messages.stop_request(request.peer, request.limit)
        for read_answer in (messages.read_hop_answer, messages.read_stop_answer):
            with contextlib.suppress(messages.RelayMessageError):
                answer = read_answer(data)
                if answer.reservation is not None:
                    assert len(answer.reservation.addresses) <= messages.MAX_RELAY_ADDRESSES
        with contextlib.suppress(vouchers.VoucherError):
            vouchers.check_voucher(data, PEER, PEER)


def test_codes_refuse_with_one_exception() -> None:
    """Words and QR texts of any kind: CodeError, or a code."""
    samples = [
        qr_payload(bytes(range(16)), PEER, ["/ip4/127.0.0.1/tcp/1"]).encode(),
        b"abandon " * 11 + b"about",
        "1. abandon \ufeff２）ａｂａｎｄｏｎ".encode(),
    ]
    for data in hostile_samples(5, case_count(150), samples):
        text = data.decode("utf-8", "surrogateescape")
        for parse in (parse_code, parse_words):
            with contextlib.suppress(CodeError):
                parse(text)
        with contextlib.suppress(ValueError):
            peer_id_from_text(text)


def test_checkpoints_are_read_or_refused() -> None:
    """The supervisor keeps them, so this is damage rather than attack; still no other error."""
    two = pair(accept=(None, None))
    two.begin()
    two.simulation.run(lambda: all(node.asked for node in two.nodes))
    samples = [node.checkpoint for node in two.nodes if node.checkpoint]
    assert len(samples) == 2
    for data in hostile_samples(6, case_count(1500), samples):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            state.restore(data)


def test_registrations_of_this_host(tmp_path: Path) -> None:
    """A locked file with any content is ignored, or is the registration of the peer that it is named for."""
    import fcntl

    node = SameHost(tmp_path)
    node.register(b"own peer" + bytes(30), ())
    path = tmp_path / "nodes" / f"{PEER.hex()}.node"
    good = encode(Registration(PEER, ("/ip4/127.0.0.1/tcp/1",)))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    before = len(os.listdir("/proc/self/fd"))
    try:
        for turn, data in enumerate(hostile_samples(7, case_count(600), [good])):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, data, 0)
            for other in node.others(1000.0 * turn, busy=True):
                assert other.peer == PEER
                assert len(encode(other)) < 16 * 1024
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, good, 0)
        assert [other.peer for other in node.others(1e9, busy=True)] == [PEER]
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        os.close(descriptor)
        node.close()


def test_refusing_keeps_nothing() -> None:
    """Two thousand refusals of every kind later, the decoders hold no more than before."""

    def refuse(seed: int) -> None:
        for data in hostile_samples(seed, 1000, FRAMES):
            with contextlib.suppress(MalformedMessageError):
                decode_wire(data)
        for data in hostile_samples(seed, 50, kad_samples()):
            with contextlib.suppress(ValueError):
                decode_answer(data, b"own")

    refuse(8)
    tracemalloc.start()
    try:
        refuse(9)
        first, _ = tracemalloc.get_traced_memory()
        refuse(10)
        second, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert second - first < 256 * 1024
