"""Pairing frames between swarm actors: matched, forwarded, answered, and refused."""

from typing import Any

import pytest
import trio

from spacedrive_node.actors.swarm.library import streams
from spacedrive_node.actors.swarm.pairing import outbound, rate_limits
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.from_supervisor import SessionEnded, Undeliverable
from spacedrive_node.messages.peer_protocol import (
    Challenge,
    ChallengeConfirmation,
    ChallengeResponse,
    PairingDecision,
    PairingRequest,
    Refused,
    decode_wire,
)
from spacedrive_node.messages.to_discovery import Servers
from spacedrive_node.messages.to_session import PeerAnswer, PeerRequest, PeerUnreachable
from spacedrive_node.messages.to_swarm import Ask, ClosestServers, ForgetPeer, KnownPeer, PeerReply, Serve
from spacedrive_node.messages.to_vault import PeerEvidence, Settled, SettleRequest
from spacedrive_node.protocol.code import code_id
from spacedrive_node.tests.harness.swarm_actors import DEADLINE

ROUTE_KEY = b"r" * 32
A = "session-" + "a" * 16
B = "session-" + "b" * 16


def request_frame(
    initiator: Any, joiner: Any, attempt: bytes = b"t" * 16, route_key: bytes = ROUTE_KEY
) -> bytes:
    name = code_id(route_key, initiator.peer, joiner.peer)
    return encode(PairingRequest(2, name, attempt, b"e" * 32, b"c" * 32))


def challenge_frame(frame: bytes) -> bytes:
    request = decode_wire(frame)
    return encode(Challenge(request.code_id, request.attempt, b"e" * 32, b"n" * 32, b"p" * 32))


async def test_a_request_reaches_its_session_and_the_answer_comes_back(swarm: Any) -> None:
    """Ask → PeerRequest → PeerReply → PeerAnswer; none of it is evidence of who the peer of a pairing is."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        frame = request_frame(a, b)
        await b.deliver(B, Ask(7, a.peer, a.addresses, frame))
        request = await a.expect(PeerRequest, A)
        assert (request.peer, request.frame, request.path) == (b.peer, frame, "direct")
        await a.deliver(A, PeerReply(request.request, challenge_frame(frame)))
        answer = await b.expect(PeerAnswer, B)
        assert answer == PeerAnswer(7, challenge_frame(frame), "direct", request.transport)
        assert a.count(PeerEvidence) == b.count(PeerEvidence) == 0


async def test_who_proves_the_code_is_told_to_the_vault_before_the_frame_arrives(swarm: Any) -> None:
    """By an initiator when it confirms, by a joiner with the confirmation, in the same step; and once."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        await b.deliver(B, Serve(ROUTE_KEY, "joiner"))
        name = code_id(ROUTE_KEY, a.peer, b.peer)
        response = encode(ChallengeResponse(name, b"t" * 16, b"s" * 32))
        confirmation = encode(ChallengeConfirmation(name, b"t" * 16, b"s" * 32))
        for number, reply in enumerate(
            [encode(Refused(name, b"t" * 16, "protocol")), b"no frame", confirmation, confirmation]
        ):
            await b.deliver(B, Ask(number, a.peer, a.addresses, response))
            asked = await a.expect(PeerRequest, A)
            assert a.count(PeerEvidence) == (number > 2)
            await a.deliver(A, PeerReply(asked.request, reply))
            await b.expect(PeerAnswer | PeerUnreachable, B)
        assert await a.expect(PeerEvidence, "vault") == PeerEvidence("a" * 16, b.peer)
        assert await b.expect(PeerEvidence, "vault") == PeerEvidence("b" * 16, a.peer)
        assert a.count(PeerEvidence) == b.count(PeerEvidence) == 1
        step = next(s for s in b.steps if any(o.kind == "PeerEvidence" for o in s.out))
        assert [(o.to, o.kind) for o in step.out] == [("vault", "PeerEvidence"), (B, "PeerAnswer")]


async def decide(initiator: Any, number: int, joiner: Any, attempt: bytes) -> str:
    """Send a decision that names the joiner's code; return the reason of its refusal."""
    frame = encode(PairingDecision(code_id(ROUTE_KEY, initiator.peer, joiner.peer), attempt, b"s" * 32))
    return reason(await ask(initiator, number, joiner, frame, A))


async def test_a_decoy_s_decisions_reach_no_joiner(swarm: Any) -> None:
    """Not what a joiner has asked, but what it has answered with its identity, decides who may decide."""
    async with swarm("a") as a, swarm("b") as b:
        await b.deliver(B, Serve(ROUTE_KEY, "joiner"))
        assert await decide(a, 1, b, b"t" * 16) == "busy"  # b may have forgotten whom it has answered
        await ask(b, 1, a, request_frame(a, b))
        assert await decide(a, 2, b, b"t" * 16) == "busy"  # this attempt is open
        for number in range(3, 12):
            assert await decide(a, number, b, bytes([number]) * 16) == "closed"
        assert reason(await ask(a, 12, b, request_frame(a, b), A)) == "protocol"
        assert b.count(PeerRequest) == b.count(PeerEvidence) == 0
        name = code_id(ROUTE_KEY, a.peer, b.peer)
        await ask(b, 2, a, encode(ChallengeResponse(name, b"t" * 16, b"s" * 32)))
        frame = encode(PairingDecision(name, b"t" * 16, b"s" * 32))
        await a.deliver(A, Ask(13, b.peer, b.addresses, frame))
        assert (await b.expect(PeerRequest, B)).frame == frame


async def test_a_decoy_s_decisions_are_strikes(swarm: Any) -> None:
    """Also with ever fresh attempts: the thirtieth in a minute closes the connection."""
    async with swarm("a") as a, swarm("b") as b:
        await b.deliver(B, Serve(ROUTE_KEY, "joiner"))
        await ask(b, 1, a, request_frame(a, b))
        name = code_id(ROUTE_KEY, a.peer, b.peer)
        for number in range(30):
            frame = encode(PairingDecision(name, number.to_bytes(16, "big"), b"s" * 32))
            answer = await ask(a, number, b, frame, A, timeout=DEADLINE)
            if isinstance(answer, PeerUnreachable):
                break
        assert number >= 28
        last = await ask(a, 99, b, request_frame(a, b), A, timeout=3.0)
        assert isinstance(last, PeerUnreachable)


def refusal(frame: bytes) -> bytes:
    """The answer of a vault that keeps nothing of it."""
    decision = decode_wire(frame)
    return encode(Refused(decision.code_id, decision.attempt, "closed"))


async def ask(asker: Any, number: int, target: Any, frame: bytes, session: str = B, **more: Any) -> Any:
    """Ask and return the answer, or the PeerUnreachable."""
    await asker.deliver(session, Ask(number, target.peer, target.addresses, frame, **more))
    return await asker.expect(PeerAnswer | PeerUnreachable, session, lambda m: m.request == number)


def reason(answer: Any) -> str:
    refused = decode_wire(answer.frame)
    assert isinstance(refused, Refused)
    return refused.reason


async def test_unknown_codes_are_refused_by_the_swarm_itself(swarm: Any) -> None:
    """No session hears of a frame without a valid code_id; decisions get `closed`, others `unavailable`."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        assert reason(await ask(b, 1, a, request_frame(a, b, route_key=b"x" * 32))) == "unavailable"
        # The same code in the other direction names something else: roles are not interchangeable.
        assert reason(await ask(b, 2, a, request_frame(b, a))) == "unavailable"
        decision = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
        assert reason(await ask(b, 3, a, decision)) == "closed"
        assert a.count(PeerRequest) == a.count(PeerEvidence) == 0


async def test_a_joiner_serves_the_frames_of_the_initiator(swarm: Any) -> None:
    """With role joiner the code_id is computed with the remote peer as initiator."""
    async with swarm("a") as a, swarm("b") as b:
        await b.deliver(B, Serve(ROUTE_KEY, "joiner"))
        name = code_id(ROUTE_KEY, a.peer, b.peer)
        await ask(b, 1, a, encode(ChallengeResponse(name, b"t" * 16, b"s" * 32)))
        frame = encode(PairingDecision(name, b"t" * 16, b"s" * 32))
        await a.deliver(A, Ask(1, b.peer, b.addresses, frame))
        assert (await b.expect(PeerRequest, B)).frame == frame


async def test_only_the_actor_that_was_asked_may_answer(swarm: Any) -> None:
    """A PeerReply of another session is ignored, also when it knows the number."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        frame = request_frame(a, b)
        await b.deliver(B, Ask(1, a.peer, a.addresses, frame))
        request = await a.expect(PeerRequest)
        wrong = encode(Refused(b"i" * 16, b"t" * 16, "closed"))
        await a.deliver("session-" + "c" * 16, PeerReply(request.request, wrong))
        await a.deliver(A, PeerReply(request.request, challenge_frame(frame)))
        assert (await b.expect(PeerAnswer)).frame == challenge_frame(frame)


async def test_a_full_session_is_busy_and_an_ended_one_closed(swarm: Any) -> None:
    """Undeliverable becomes a refusal; a session that ends meanwhile leaves nobody waiting."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        await b.deliver(B, Ask(1, a.peer, a.addresses, request_frame(a, b)))
        request = await a.expect(PeerRequest)
        await a.deliver("supervisor", Undeliverable(A, "PeerRequest", a.envelope_id(request), True))
        assert reason(await b.expect(PeerAnswer)) == "busy"
        await b.deliver(B, Ask(2, a.peer, a.addresses, request_frame(a, b)))
        await a.expect(PeerRequest)
        await a.deliver("supervisor", SessionEnded("a" * 16, "initiator", "cancelled"))
        assert reason(await b.expect(PeerAnswer)) == "closed"
        # Its code stays known for a while: whoever comes late hears that it is over, and gets no strike.
        for number in range(3, 40):
            frame = request_frame(a, b, attempt=number.to_bytes(16, "big"))
            assert reason(await ask(b, number, a, frame)) in ("closed", "busy")


async def test_whoever_poisoned_a_session_is_blocked(swarm: Any) -> None:
    """The peer whose frame killed a session again and again is refused for a while, and others are not."""
    async with swarm("a") as a, swarm("b") as b, swarm("c") as c:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        await b.deliver(B, Ask(1, a.peer, a.addresses, request_frame(a, b)))
        await a.expect(PeerRequest)
        await a.deliver("supervisor", SessionEnded("a" * 16, "initiator", "crashed", poison=True))
        await b.expect(PeerUnreachable | PeerAnswer)
        answer = await ask(b, 2, a, request_frame(a, b), timeout=3.0)
        assert isinstance(answer, PeerUnreachable)
        assert reason(await ask(c, 1, a, request_frame(a, c))) == "closed"


async def test_a_session_that_crashed_for_its_own_reasons_blocks_nobody(swarm: Any) -> None:
    """A full disk or an impatient killer is not the peer's doing."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        await b.deliver(B, Ask(1, a.peer, a.addresses, request_frame(a, b)))
        await a.expect(PeerRequest)
        await a.deliver("supervisor", SessionEnded("a" * 16, "initiator", "crashed"))
        assert reason(await b.expect(PeerAnswer)) == "closed"
        assert reason(await ask(b, 2, a, request_frame(a, b))) == "closed"


async def test_a_known_peer_s_decision_goes_to_the_vault(swarm: Any) -> None:
    """A decision that fits no session is the vault's, but only for peers that it has named."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver("vault", KnownPeer(b.peer))
        frame = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
        await b.deliver(B, Ask(1, a.peer, a.addresses, frame))
        request = await a.expect(SettleRequest, "vault")
        assert (request.peer, request.frame) == (b.peer, frame)
        kept = encode(Refused(b"i" * 16, b"t" * 16, "closed"))
        await a.deliver("vault", PeerReply(request.request, kept))
        assert (await b.expect(PeerAnswer)).frame == kept
        await a.deliver("vault", ForgetPeer(b.peer))
        assert reason(await ask(b, 2, a, frame)) == "closed"
        assert a.count(SettleRequest) == 1


@pytest.mark.parametrize("how", ["ended", "undeliverable"])
async def test_a_decision_that_its_session_does_not_take_any_more_goes_to_the_vault(
    swarm: Any, how: str
) -> None:
    """It was on its way to the session while that ended as paired, after its peer had become known."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        frame = encode(PairingDecision(code_id(ROUTE_KEY, a.peer, b.peer), b"t" * 16, b"s" * 32))
        await b.deliver(B, Ask(1, a.peer, a.addresses, frame))
        request = await a.expect(PeerRequest, A)
        await a.deliver("vault", KnownPeer(b.peer))
        if how == "ended":
            await a.deliver("supervisor", SessionEnded("a" * 16, "initiator", "paired"))
        else:
            await a.deliver("supervisor", Undeliverable(A, "PeerRequest", a.envelope_id(request), False))
        settle = await a.expect(SettleRequest, "vault")
        assert (settle.peer, settle.frame) == (b.peer, frame)


@pytest.mark.parametrize("named_first", [True, False])
async def test_a_decision_to_settle_is_repeated_on_contact(swarm: Any, named_first: bool) -> None:
    """Whoever opened the connection: the frame goes out, and its answer to the vault."""
    async with swarm("a") as a, swarm("b") as b:
        frame = encode(PairingDecision(b"i" * 16, b"t" * 16, b"s" * 32))
        if named_first:
            await a.deliver("vault", KnownPeer(b.peer, frame))
        await ask(b, 1, a, request_frame(a, b))
        if not named_first:
            await a.deliver("vault", KnownPeer(b.peer, frame))
        settled = await a.expect(Settled, "vault")
        assert settled.peer == b.peer
        assert reason(settled) == "closed"


async def test_decisions_of_two_sessions_are_settled_at_one_contact(swarm: Any) -> None:
    """The second comes while the first is under way: neither the answer to the first nor it is lost."""
    async with swarm("a") as a, swarm("b") as b:
        frames = [encode(PairingDecision(b"i" * 16, b"t" * 16, bytes([n]) * 32)) for n in (1, 2)]
        await b.deliver("vault", KnownPeer(a.peer))
        await ask(b, 1, a, request_frame(a, b))
        await a.deliver("vault", KnownPeer(b.peer, frames[0]))
        first = await b.expect(SettleRequest)
        await a.deliver("vault", KnownPeer(b.peer, frames[1]))
        await a.deliver("discovery", ClosestServers(1, b"k" * 32))
        await a.expect(Servers)  # so the one before it has been taken
        await b.deliver("vault", PeerReply(first.request, refusal(frames[0])))
        assert (await a.expect(Settled)).frame == refusal(frames[0])
        second = await b.expect(SettleRequest)
        assert second.frame == frames[1]
        await b.deliver("vault", PeerReply(second.request, refusal(frames[1])))
        assert (await a.expect(Settled)).frame == refusal(frames[1])


async def test_a_decision_is_settled_again_while_the_connection_lasts(
    swarm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is busy, or the first attempt went down with a dead connection: no new one is needed."""
    monkeypatch.setattr(outbound, "_SETTLE_PAUSE_S", 0.2)
    async with swarm("a") as a, swarm("b") as b:
        frame = encode(PairingDecision(b"i" * 16, b"t" * 16, bytes(32)))
        await b.deliver("vault", KnownPeer(a.peer))
        await ask(b, 1, a, request_frame(a, b))
        await a.deliver("vault", KnownPeer(b.peer, frame))
        for _ in range(3):
            asked = await b.expect(SettleRequest)
            await b.deliver("vault", PeerReply(asked.request, encode(Refused(b"i" * 16, b"t" * 16, "busy"))))
            assert reason(await a.expect(Settled)) == "busy"
        await a.deliver("vault", KnownPeer(b.peer))


async def test_strangers_with_useless_frames_are_blocked(swarm: Any) -> None:
    """The thirtieth frame without a valid code_id in a minute closes the connection, and it stays closed."""
    async with swarm("a") as a, swarm("b") as b:
        for number in range(30):
            frame = request_frame(a, b, attempt=number.to_bytes(16, "big"), route_key=b"x" * 32)
            answer = await ask(b, number, a, frame, timeout=DEADLINE)
            if isinstance(answer, PeerUnreachable):
                break
        assert number >= 28
        assert isinstance(await ask(b, 99, a, request_frame(a, b), timeout=3.0), PeerUnreachable)


async def test_an_attempt_that_repeats_too_fast_is_busy(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame and ten repeats of it in a window reach the session; more are answered `busy`."""
    monkeypatch.setattr(rate_limits, "REPEAT_WINDOW_S", 60.0)  # a slow machine must not stretch the second
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        frame = request_frame(a, b)

        async def session() -> None:
            while True:
                request = await a.expect(PeerRequest)
                await a.deliver(A, PeerReply(request.request, challenge_frame(frame)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(session)
            async with trio.open_nursery() as asks:
                for number in range(15):
                    asks.start_soon(ask, b, number, a, frame)
            nursery.cancel_scope.cancel()
        answers = [decode_wire(m.frame) for _to, m, _id in b.sent if isinstance(m, PeerAnswer)]
        assert a.count(PeerRequest) == 11
        assert sum(isinstance(answer, Refused) and answer.reason == "busy" for answer in answers) == 4
        assert len(answers) == 15


async def test_a_peer_that_is_not_there_is_unreachable(swarm: Any) -> None:
    """Dead addresses, forbidden ones, none at all, and the own peer id: each is told at once or in time."""
    async with swarm("a") as a, swarm("b") as b:
        stranger = bytes.fromhex("002408011220") + b"\x07" * 32
        for number, (peer, addresses) in enumerate(
            [
                (stranger, ("/ip4/127.0.0.1/tcp/1",)),
                (stranger, ("/unix/tmp/socket", "/ip4/127.0.0.1/udp/1/quic-v1/webtransport", "nonsense")),
                (stranger, ()),
                (b.peer, b.addresses),
                (stranger, a.addresses),  # somebody else listens there
            ]
        ):
            await b.deliver(B, Ask(number, peer, addresses, request_frame(a, b), timeout=DEADLINE))
            gone = await b.expect(PeerUnreachable, B)
            assert (gone.request, gone.reason != "time-out") == (number, True)


async def test_dead_addresses_do_not_hide_a_live_one(swarm: Any) -> None:
    """The live address is found behind dead ones, and a peer that failed before is tried again at once."""
    async with swarm("a") as a, swarm("b") as b:
        dead = ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2", "/ip6/::1/tcp/3")
        await b.deliver(B, Ask(1, a.peer, dead, request_frame(a, b)))
        await b.expect(PeerUnreachable)
        await b.deliver(B, Ask(2, a.peer, (*dead, *a.addresses), request_frame(a, b)))
        assert reason(await b.expect(PeerAnswer)) == "unavailable"


async def test_lan_only_stays_inside(swarm: Any) -> None:
    """With --lan-only a public address is not dialled, and a private one is."""
    config = SwarmConfig(listen=("/ip4/127.0.0.1/tcp/0",), lan_only=True)
    async with swarm("a", config) as a, swarm("b", config) as b:
        await b.deliver(B, Ask(1, a.peer, ("/ip4/8.8.8.8/tcp/1",), request_frame(a, b), timeout=DEADLINE))
        assert (await b.expect(PeerUnreachable)).reason != "time-out"
        assert reason(await ask(b, 2, a, request_frame(a, b))) == "unavailable"


async def test_a_first_stream_that_is_lost(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new connection the request is repeated once; on one that existed it is not."""
    exchange_on, lost = outbound._exchange_on, 0

    async def lose_one(connection: Any, frame: bytes) -> bytes:
        nonlocal lost
        if lost:
            lost -= 1
            raise streams.StreamError("closed by the peer")
        return await exchange_on(connection, frame)

    monkeypatch.setattr(outbound, "_exchange_on", lose_one)
    async with swarm("a") as a, swarm("b") as b:
        lost = 1
        assert reason(await ask(b, 1, a, request_frame(a, b))) == "unavailable"
        lost = 1
        assert (await ask(b, 2, a, request_frame(a, b))) == PeerUnreachable(2, "closed by the peer")


async def test_offline_stays_on_this_host(swarm: Any) -> None:
    """With --offline nothing beyond loopback is dialled or listened on, and no name is resolved."""
    config = SwarmConfig(listen=("/ip4/127.0.0.1/tcp/0",), offline=True)
    outside = ("/ip4/8.8.8.8/tcp/1", "/ip4/192.168.1.1/tcp/1", "/ip6/fe80::1/tcp/1", "/dns/localhost/tcp/1")
    async with swarm("a", config) as a, swarm("b", config) as b:
        for number, address in enumerate(outside):
            await b.deliver(B, Ask(number, a.peer, (address,), request_frame(a, b), timeout=DEADLINE))
            assert (await b.expect(PeerUnreachable)).reason == "no address answers as this peer"
        assert reason(await ask(b, 9, a, request_frame(a, b))) == "unavailable"
    wrong = SwarmConfig(listen=("/ip4/0.0.0.0/tcp/0",), offline=True)
    async with swarm("c", wrong, up=False) as c:
        await c.gone.wait()
        assert c.fatal == "cannot listen: a node that is offline listens on loopback only"


async def test_an_ask_ends_with_its_time_out(swarm: Any) -> None:
    """A session that never answers costs the asker its own deadline and no more."""
    async with swarm("a") as a, swarm("b") as b:
        await a.deliver(A, Serve(ROUTE_KEY, "initiator"))
        assert (await ask(b, 1, a, request_frame(a, b), timeout=0.5)) == PeerUnreachable(1, "time-out")
