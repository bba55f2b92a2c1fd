"""What strangers get, without a socket: paces, by source and in all."""

import pytest

pytest.importorskip("google_crc32c", reason="the extra webrtc is not installed: make webrtc")

from spacedrive_node.actors.swarm.library.handshake_limits import HandshakeLimits
from spacedrive_node.actors.swarm.webrtc import admission, stun
from spacedrive_node.actors.swarm.webrtc.admission import Admission
from spacedrive_node.actors.swarm.webrtc.certificate import dialer_certificate, listener_certificate
from spacedrive_node.actors.swarm.webrtc.dtls import DtlsSession, new_context

QUESTION = stun.request(stun.new_name(), bytes(12))
PLACE = ("192.0.2.1", 4711)


def first_packet() -> bytes:
    session = DtlsSession(new_context(dialer_certificate()), is_client=True)
    session.advance()
    (datagram,) = session.datagrams()
    return datagram


def new_admission() -> Admission:
    return Admission(listener_certificate(bytes(32)), HandshakeLimits())


def test_strangers_have_a_pace_each_and_all_together() -> None:
    """A source that is too fast takes nothing from others; all together are bounded; time gives it back."""
    admits, hello = new_admission(), first_packet()
    burst = int(admission.BURST_PER_SOURCE)
    answered = [admits.answer(QUESTION, PLACE, 1000.0) is not None for _ in range(2 * burst)]
    assert answered == [True] * (burst + 1) + [False] * (burst - 1)
    assert admits.answer(QUESTION, ("198.51.100.1", 1), 1000.0) is not None
    assert admits.answer(QUESTION, PLACE, 1001.0) is not None
    taken = [isinstance(admits.judge(hello, PLACE, 1000.0), DtlsSession) for _ in range(2 * burst)]
    assert sum(taken) == burst + 1
    many = [admits.judge(hello, (f"10.{n // 250}.{n % 250}.1", 1), 1000.0) for n in range(700)]
    assert sum(one is not None for one in many) == 500 - sum(taken)


def test_on_loopback_many_nodes_may_be() -> None:
    """There only all together are bounded."""
    admits = new_admission()
    place = ("127.0.0.1", 1)
    answered = [admits.answer(QUESTION, place, 1000.0) is not None for _ in range(1500)]
    assert sum(answered) == 1000


def test_what_is_no_first_packet_costs_nothing() -> None:
    """Neither an answer nor a place in any pace."""
    admits, hello = new_admission(), first_packet()
    for packet in (b"\x16" * 5, hello[:25], b"\x17" + hello[1:], hello[:4] + b"\x01" + hello[5:]):
        for _ in range(1000):
            assert admits.judge(packet, PLACE, 1000.0) is None
    assert isinstance(admits.judge(hello, PLACE, 1000.0), DtlsSession)
