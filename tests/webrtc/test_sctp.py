"""SCTP associations over a simulated path: loss, order, windows, resets, and what a hostile peer may do."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("google_crc32c", reason="the extra webrtc is not installed: make webrtc")

from spacedrive_node.actors.swarm.webrtc import sctp_chunks as chunks
from spacedrive_node.actors.swarm.webrtc.sctp_association import Association, ResetDone, StreamReset
from spacedrive_node.actors.swarm.webrtc.sctp_chunks import Data, Sack, is_after
from spacedrive_node.actors.swarm.webrtc.sctp_receiver import (
    _MAX_DISTANCE,
    _MAX_EARLY,
    WINDOW_BYTES,
    Receiver,
)
from spacedrive_node.actors.swarm.webrtc.sctp_sender import Sender
from spacedrive_node.actors.swarm.webrtc.wire import MalformedError, WebRtcError

LIMIT_S = 300.0


@dataclass
class Path:
    """Two associations and the way between them, in simulated time. `reads`: the listener reads at once."""

    draw: random.Random
    loss: float = 0.0
    reads: bool = True
    now: float = 0.0
    sent: int = 0
    on_the_way: list[tuple[float, int, Association, bytes]] = field(default_factory=list)
    got: bytearray = field(default_factory=bytearray)
    resets: list[StreamReset | ResetDone] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dialer = Association(is_client=True, now=0.0)
        self.listener = Association(is_client=False, now=0.0)

    def run(self, until: Callable[[], bool]) -> None:
        """Let time pass until something holds. Raises WebRtcError as the associations do."""
        while True:
            for one, other in ((self.dialer, self.listener), (self.listener, self.dialer)):
                for packet in one.packets(self.now):
                    self.sent += 1
                    if self.draw.random() >= self.loss:
                        delay = 0.02 * (1 + self.draw.random() * bool(self.loss))
                        self.on_the_way.append((self.now + delay, self.sent, other, packet))
            if until():
                return
            self.on_the_way.sort(key=lambda one: one[:2])
            due = min(self.dialer.next_time(), self.listener.next_time())
            if self.on_the_way and self.on_the_way[0][0] <= due:
                self.now, _, side, packet = self.on_the_way.pop(0)
                side.receive(packet, self.now)
            else:
                self.now = max(self.now, due)
                assert self.now < LIMIT_S
                for side in (self.dialer, self.listener):
                    if side.next_time() <= self.now:
                        side.handle_time(self.now)
            self.take_events()

    def take_events(self) -> None:
        for side in (self.dialer, self.listener):
            while side.events:
                event = side.events.popleft()
                if isinstance(event, Data):
                    self.got += event.data
                    if self.reads:
                        side.receiver.read(len(event.data))
                else:
                    self.resets.append(event)

    def connect(self) -> None:
        self.run(lambda: self.dialer.is_established and self.listener.is_established)


@pytest.mark.parametrize(
    ("loss", "size", "seed"), [(0.0, 2_000_000, 1), *((0.03, 300_000, n) for n in range(4))]
)
def test_everything_arrives_in_order_and_then_the_reset(loss: float, size: int, seed: int) -> None:
    """With packets lost and out of order; the reset of the stream comes behind its data."""
    path = Path(random.Random(seed), loss)
    path.connect()
    sent = path.draw.randbytes(size)
    for at in range(0, size, 16_000):
        path.dialer.send(2, 53, sent[at : at + 16_000])
    path.dialer.reset(2)
    path.run(lambda: len(path.resets) == 2)
    assert path.resets == [StreamReset((2,)), ResetDone((2,))]
    assert path.got == sent
    if not loss:
        assert path.sent < 1.6 * size / 1132  # every second packet is acknowledged


def test_both_sides_may_begin() -> None:
    """As browsers do: the two beginnings become one association."""
    path = Path(random.Random(1))
    path.listener = Association(is_client=True, now=0.0)
    (init,) = path.listener.packets(0.0)
    path.dialer.receive(init, 0.0)  # before its own has left
    first, second = path.dialer.packets(0.0)
    assert (first[12], second[12]) == (chunks.INIT, chunks.INIT_ACK)  # each alone in its packet
    path.listener.receive(first, 0.0)
    path.listener.receive(second, 0.0)
    path.connect()
    assert path.now < 0.2
    path.listener.send(1, 53, b"there")
    path.dialer.send(2, 53, b"here")
    path.run(lambda: sorted(path.got.decode()) == sorted("therehere"))


def test_what_is_not_read_stops_the_sender_and_reading_lets_it_go_on() -> None:
    """The window of the association follows what the application reads."""
    path = Path(random.Random(1), reads=False)
    path.connect()
    path.dialer.send(2, 53, bytes(2_000_000))
    began = path.now
    path.run(lambda: path.now > began + 30)
    assert WINDOW_BYTES <= path.listener.receiver.unread <= WINDOW_BYTES + 6000
    path.reads = True
    path.listener.receiver.read(path.listener.receiver.unread)
    path.run(lambda: len(path.got) == 2_000_000)


@pytest.mark.parametrize("is_sending", [True, False])
def test_a_peer_that_is_gone_is_noticed_in_half_a_minute(is_sending: bool) -> None:
    """Whether something is sent to it or nothing is: both sides have a time."""
    path = Path(random.Random(1))
    path.connect()
    path.loss = 1.0
    began = path.now
    if is_sending:
        path.dialer.send(2, 53, b"lost")
    with pytest.raises(WebRtcError, match="gone"):
        path.run(lambda: False)
    assert path.now - began < 30


def test_a_silent_peer_that_is_there_stays() -> None:
    """Minutes of silence: some packets, and no end."""
    path = Path(random.Random(1))
    path.connect()
    before = path.sent
    path.run(lambda: path.now > 200)
    assert 20 <= path.sent - before <= 60


# A hostile peer


def data(tsn: int, size: int = 1000) -> Data:
    return Data(tsn, 2, 0, 53, bytes(size), True, True)


def test_a_peer_that_ignores_the_window_fills_no_memory() -> None:
    """In order, out of order, and far ahead: what is held stays bounded, and is not acknowledged."""
    in_order = Receiver(0)
    for tsn in range(2000):
        for one in in_order.receive(data(tsn), 0.0):
            in_order.unread += len(one.data)
    assert in_order.held <= WINDOW_BYTES + 6000
    assert not in_order.has_come(1000)
    early = Receiver(0)
    for tsn in range(1, 100_000, 2):
        assert early.receive(data(tsn, 1), 0.0) == []
    assert len(early._early) <= _MAX_EARLY
    assert all(tsn <= _MAX_DISTANCE for tsn in early._early)
    sack = early.acknowledgement(0.0)
    assert sack is not None
    assert len(sack.ranges) == 16


def test_each_part_is_handed_on_once() -> None:
    """Repeated, from the past, and over the end of the numbers."""
    receiver = Receiver(0xFFFFFFFE)
    found = [
        one.tsn
        for tsn in (0, 0xFFFFFFFE, 0xFFFFFFFE, 0xFFFFFFFF, 0, 2, 1, 1, 0xFFFFFFFD, 2)
        for one in receiver.receive(data(tsn), 0.0)
    ]
    assert found == [0xFFFFFFFE, 0xFFFFFFFF, 0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 40), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))))
def test_acknowledgements_of_what_was_never_sent_do_no_harm(
    sacks: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    """Any ranges in any order: what counts as under way stays what it is, and all is sent in the end."""
    sender = Sender(5, 1 << 20)
    sender.put(2, 53, bytes(20_000))
    now = 0.0
    for tsn, ranges in sacks:
        while sender.next_part(now) is not None:
            pass
        body = bytes(Sack(tsn, 1 << 20, ranges))[4:]
        sender.receive(chunks.read_sack(body), now)
        now += 0.01
        live = [one for one in sender._sent if not one.is_acknowledged]
        assert sender._flight == sum(len(one.packed) for one in live if not one.is_due)
        assert sender._due == sum(one.is_due for one in live)
        assert sender._outstanding == sum(len(one.part.data) for one in sender._sent)
    for _ in range(100):
        while sender.next_part(now) is not None:
            pass
        if not sender.has_unacknowledged:
            break
        sender.receive(Sack(sender._sent[-1].part.tsn, 1 << 20), now)
    assert not sender.has_unacknowledged
    assert not is_after(sender.next_tsn, sender.acknowledged_tsn + 1)


@given(st.binary(max_size=200), st.booleans())
def test_hostile_chunks_end_the_association_or_do_nothing(body: bytes, with_tag: bool) -> None:
    """Whatever a peer puts into a packet with a true checksum and tag: one of two errors, or none."""
    path = Path(random.Random(1))
    path.connect()
    tag = path.listener._tag if with_tag else 0
    try:
        path.listener.receive(chunks.packet(tag, body), path.now)
        path.listener.packets(path.now)
    except (MalformedError, WebRtcError):
        return
    assert len(path.listener._out) <= 128


def test_a_flood_of_questions_gets_a_bounded_number_of_answers() -> None:
    """Heartbeats in one packet beside each other, and one that would not fit into a packet."""
    path = Path(random.Random(1))
    path.connect()
    path.listener.packets(path.now)
    heartbeat = chunks.chunk(chunks.HEARTBEAT)
    path.listener.receive(chunks.packet(path.listener._tag, heartbeat * 400), path.now)
    path.listener.receive(
        chunks.packet(path.listener._tag, chunks.chunk(chunks.HEARTBEAT, bytes(1500))), path.now
    )
    answers = path.listener.packets(path.now)
    assert sum(map(len, answers)) <= 128 * 4 + len(answers) * 12
    assert all(len(one) <= 1163 for one in answers)
