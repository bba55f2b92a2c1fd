"""Both roles of DCUtR without a network: who says what when, and what ends the exchange."""

import pytest

from spacedrive_node.actors.swarm.punch import messages
from spacedrive_node.actors.swarm.punch.exchange import (
    MAX_ATTEMPTS,
    MAX_ROUND_TRIP_S,
    Dial,
    ExchangeError,
    Initiator,
    Reply,
    Responder,
)
from spacedrive_node.protocol.multiaddrs import parse

ANNA = (parse("/ip4/45.77.1.1/tcp/7520"),)
BRUNO = (parse("/ip4/45.77.2.1/udp/7520/quic-v1"),)


def read(data: bytes) -> messages.Message:
    """A message as the other side gets it: its length is one byte here."""
    assert data[0] == len(data) - 1
    return messages.read(data[1:])


def test_three_attempts_and_both_dial_at_the_same_moment() -> None:
    """The initiator waits for half of the round trip that it has measured, each time anew."""
    initiator, responder, now = Initiator(), Responder(), 100.0
    for round_trip in (0.0625, 0.5, 0.125):
        assert initiator.may_begin
        assert responder.may_go_on
        reply = responder.receive(read(initiator.begin(ANNA, now)), BRUNO, now + round_trip / 2)
        assert isinstance(reply, Reply)
        assert reply.theirs == ANNA
        now += round_trip
        dial = initiator.receive(read(reply.data), now)
        assert (dial.at, dial.theirs) == (now + round_trip / 2, BRUNO)
        theirs = responder.receive(read(dial.data), BRUNO, now + round_trip / 2)
        assert theirs == Dial(dial.at, ANNA)
        now += 10
    assert not initiator.may_begin
    assert not responder.may_go_on
    with pytest.raises(ExchangeError):
        initiator.begin(ANNA, now)
    with pytest.raises(ExchangeError):
        responder.receive(messages.Connect(ANNA), BRUNO, now)


def test_an_answer_that_takes_long_makes_nobody_wait_long() -> None:
    initiator = Initiator()
    initiator.begin((), 0.0)
    assert initiator.receive(messages.Connect(), MAX_ROUND_TRIP_S).at == 1.5 * MAX_ROUND_TRIP_S
    initiator.begin((), 10.0)
    with pytest.raises(ExchangeError):
        initiator.receive(messages.Connect(), 10.0 + MAX_ROUND_TRIP_S + 0.01)


def test_what_does_not_belong_where_it_comes() -> None:
    initiator = Initiator()
    with pytest.raises(ExchangeError):
        initiator.receive(messages.Connect(), 0.0)
    initiator.begin((), 0.0)
    with pytest.raises(ExchangeError):
        initiator.begin((), 0.0)
    with pytest.raises(ExchangeError):
        initiator.receive(messages.Sync(), 0.0)
    responder = Responder()
    with pytest.raises(ExchangeError):
        responder.receive(messages.Sync(), (), 0.0)
    for _ in range(MAX_ATTEMPTS):
        responder.receive(messages.Connect(), (), 0.0)
        with pytest.raises(ExchangeError):
            responder.receive(messages.Connect(), (), 0.0)
        responder.receive(messages.Sync(), (), 0.0)
