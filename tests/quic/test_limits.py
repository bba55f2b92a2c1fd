"""The pure parts: credit, handshakes, tokens of resets, and the first packet."""

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicHeader, QuicPacketType, pull_quic_header
from aioquic.quic.stream import QuicStreamSender

from spacedrive_node.actors.swarm.library import handshake_limits
from spacedrive_node.actors.swarm.library.handshake_limits import HandshakeLimits, RateLimit
from spacedrive_node.actors.swarm.quic import receive_credit
from spacedrive_node.actors.swarm.quic.admission import (
    BURST_HANDSHAKES,
    HANDSHAKES_PER_S,
    Accepted,
    Admission,
    Answer,
)
from spacedrive_node.actors.swarm.quic.bounded_quic import VERSION
from spacedrive_node.actors.swarm.quic.receive_credit import ReceiveCredit
from spacedrive_node.actors.swarm.quic.reset_tokens import ResetTokens, is_reset

HERE = ("192.0.2.1", 4001)
WINDOW, ALL = receive_credit.STREAM_WINDOW_BYTES, receive_credit.CONNECTION_WINDOW_BYTES


def test_credit_follows_what_is_read() -> None:
    """Half a window at a time: nothing for unread bytes, and again as much as was read."""
    credit = ReceiveCredit()
    credit.receive(0, WINDOW)
    assert credit.stream_limit(0, WINDOW, WINDOW) == WINDOW
    credit.read(0, WINDOW // 2 - 1)
    assert credit.stream_limit(0, WINDOW, WINDOW) == WINDOW
    credit.read(0, 1)
    assert credit.stream_limit(0, WINDOW, WINDOW) == WINDOW + WINDOW // 2
    assert credit.unread == WINDOW // 2


def test_what_nobody_will_read_counts_as_read_for_the_connection_alone() -> None:
    """A stream that was given up gets no more credit, and takes none from the others."""
    credit = ReceiveCredit()
    credit.receive(0, WINDOW)
    credit.ignore(0)
    credit.receive(0, 100)
    assert credit.unread == 0
    assert credit.stream_limit(0, WINDOW + 100, WINDOW) == WINDOW
    assert credit.connection_limit(ALL, ALL) == 2 * ALL


def test_what_is_remembered_of_ignored_streams_is_bounded() -> None:
    """Those that are gone are forgotten, once there are many."""
    credit = ReceiveCredit()
    for stream_id in range(0, 4000, 4):
        credit.ignore(stream_id)
        credit.prune([stream_id])
    assert len(credit._ignored) <= receive_credit._MAX_IGNORED_STREAMS + 1


def test_reading_more_than_came_gives_no_credit() -> None:
    """After a reset the count has been taken back already."""
    credit = ReceiveCredit()
    credit.receive(0, 10)
    credit.forget(0)
    credit.read(0, 10)
    assert credit.unread == 0


def test_handshakes_are_bounded_in_all_and_for_each_block() -> None:
    """Beyond some dozen a newcomer has to show its address; then one of those who have most makes room."""
    limits: HandshakeLimits[tuple[str, int]] = HandshakeLimits()

    def begin(block: str, number: int) -> None:
        assert limits.judge(block, has_shown_address=True) == "accept"
        if (oldest := limits.to_make_room(block)) is not None:
            limits.end(oldest)
        limits.begin((block, number), block)

    for number in range(handshake_limits.RETRY_ABOVE_PER_BLOCK):
        assert limits.judge("a", has_shown_address=False) == "accept"
        begin("a", number)
    assert limits.judge("a", has_shown_address=False) == "retry"
    assert limits.judge("b", has_shown_address=False) == "accept"
    for number in range(len(limits), handshake_limits.MAX_HANDSHAKES_PER_BLOCK):
        begin("a", number)
    assert limits.to_make_room("b") is None
    assert limits.judge("b", has_shown_address=False) == "retry"
    begin("a", 1000)
    assert len(limits) == handshake_limits.MAX_HANDSHAKES_PER_BLOCK
    assert limits.to_make_room("a") == ("a", 1)
    for number in range(handshake_limits.MAX_HANDSHAKES - len(limits)):
        begin(f"other {number}", number)
    assert limits.to_make_room("b") == ("a", 1)
    begin("b", 0)
    assert len(limits) == handshake_limits.MAX_HANDSHAKES
    for handshake in list(limits._open):
        limits.end(handshake)
    assert len(limits) == 0
    assert not limits._by_block


def test_who_comes_is_let_in_when_everybody_has_one() -> None:
    """The oldest goes, whosever it is, so that a handshake has the time in which all others are replaced."""
    limits: HandshakeLimits[int] = HandshakeLimits()
    for number in range(handshake_limits.MAX_HANDSHAKES):
        limits.begin(number, str(number))
    assert limits.to_make_room("newcomer") == 0


def test_a_rate_is_a_rate() -> None:
    """As many at once as in a second, then one for each part of a second."""
    rate = RateLimit(10)
    assert [rate.allows(5.0) for _ in range(11)] == [True] * 10 + [False]
    assert [rate.allows(5.25) for _ in range(3)] == [True, True, False]


def first(token: bytes = b"", cid: bytes = b"c" * 8, **more: object) -> QuicHeader:
    values = {
        "version": VERSION, "packet_type": QuicPacketType.INITIAL, "packet_length": 1200, "token": token,
        "destination_cid": cid, "source_cid": b"s" * 8, "integrity_tag": b"", "supported_versions": [],
    }  # fmt: skip
    return QuicHeader(**{**values, **more})


def crowded() -> Admission:
    limits: HandshakeLimits[int] = HandshakeLimits()
    for number in range(handshake_limits.RETRY_ABOVE):
        limits.begin(number, str(number))
    return Admission(limits)


def test_a_token_of_retry_lets_its_sender_in_from_its_address_alone() -> None:
    """With the connection id that it was given, for half a minute, at this node; nothing else is answered."""
    admission = crowded()
    answer = admission.judge(first(), 1200, HERE, 10.0)
    assert isinstance(answer, Answer)
    retry = pull_quic_header(Buffer(data=answer.datagram), host_cid_length=8)
    assert retry.packet_type is QuicPacketType.RETRY
    again = first(retry.token, retry.source_cid)
    assert admission.judge(again, 1200, HERE, 11.0) == Accepted(b"c" * 8, retry.source_cid)
    assert admission.judge(again, 1200, ("192.0.2.2", 4001), 11.0) is None
    assert admission.judge(again, 1200, HERE, 60.0) is None
    assert admission.judge(first(retry.token), 1200, HERE, 11.0) is None
    assert admission.judge(first(b"x" * 40), 1200, HERE, 11.0) is None
    assert admission.judge(first(b"x" * 999), 1200, HERE, 11.0) is None
    assert crowded().judge(again, 1200, HERE, 11.0) is None
    assert len(answer.datagram) < 1200 / 3


def test_handshakes_of_one_source_begin_at_a_pace() -> None:
    """Beyond it a newcomer shows its address first; beyond that of those who have, it comes again."""
    admission, burst = Admission(HandshakeLimits()), int(BURST_HANDSHAKES)
    answers = [admission.judge(first(), 1200, HERE, 10.0) for _ in range(burst + 2)]
    assert sum(isinstance(one, Accepted) for one in answers) == burst + 1
    retry = pull_quic_header(Buffer(data=answers[-1].datagram), host_cid_length=8)
    again = first(retry.token, retry.source_cid)
    shown = [admission.judge(again, 1200, HERE, 10.0) for _ in range(burst + 2)]
    assert shown == [Accepted(b"c" * 8, retry.source_cid)] * (burst + 1) + [None]
    assert admission.judge(again, 1200, HERE, 10.0 + 1.5 / HANDSHAKES_PER_S) is not None
    assert admission.judge(first(), 1200, ("192.0.2.2", 4001), 10.0) == Accepted(b"c" * 8, None)
    for _ in range(2 * burst):
        assert admission.judge(first(), 1200, ("127.0.0.1", 4001), 10.0) == Accepted(b"c" * 8, None)


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (1199, first()),
        (1200, first(packet_type=QuicPacketType.HANDSHAKE)),
        (1200, first(packet_type=QuicPacketType.ZERO_RTT)),
        (1200, first(cid=b"short")),
        (1200, first(version=0)),
    ],
)
def test_what_is_no_first_packet_gets_nothing(size: int, header: QuicHeader) -> None:
    """Too short, of another kind, or an answer itself."""
    assert Admission(HandshakeLimits()).judge(header, size, HERE, 1.0) is None


def test_another_version_is_told_which_one_is_spoken() -> None:
    """At most a hundred times a second, and with fewer bytes than came."""
    admission = Admission(HandshakeLimits())
    answers = [admission.judge(first(version=0xFF00001D), 1200, HERE, 1.0) for _ in range(101)]
    assert answers[-1] is None
    assert isinstance(answers[0], Answer)
    told = pull_quic_header(Buffer(data=answers[0].datagram), host_cid_length=8)
    assert told.supported_versions == [VERSION]


def test_tokens_follow_from_the_seed_and_the_connection_id() -> None:
    """The same after a restart; of another node or another id, others."""
    tokens, again, other = ResetTokens(b"a" * 32), ResetTokens(b"a" * 32), ResetTokens(b"b" * 32)
    datagram = b"\x40" + b"c" * 8 + bytes(31)
    reset = tokens.reset_for(datagram)
    assert reset is not None
    assert len(reset) < len(datagram)
    assert is_reset(reset, [b"x" * 16, again.token(b"c" * 8)])
    assert not is_reset(reset, [again.token(b"d" * 8), other.token(b"c" * 8)])
    assert not is_reset(reset, [])
    assert reset[0] & 0xC0 == 0x40
    assert tokens.reset_for(reset) is None or len(tokens.reset_for(reset) or b"") < len(reset)


def test_resets_do_not_go_back_and_forth_for_ever() -> None:
    """Each is shorter than what it answers, and at last there is none. A packet of a handshake gets none."""
    tokens = ResetTokens(b"a" * 32)
    datagram: bytes | None = bytes((0x40,)) + bytes(1199)
    number = 0
    while datagram is not None:
        datagram, number = tokens.reset_for(datagram), number + 1
    assert number < 30
    assert tokens.reset_for(bytes((0xC0,)) + bytes(1199)) is None


def test_the_end_of_a_stream_is_not_lost_when_a_packet_is_full() -> None:
    """aioquic has corrected it: a frame without data waits for the next packet."""
    sender = QuicStreamSender(stream_id=0, writable=True)
    sender.write(b"", end_stream=True)
    assert sender.get_frame(-1) is None
    frame = sender.get_frame(0)
    assert frame is not None
    assert frame.fin
