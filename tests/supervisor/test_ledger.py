"""The ledger without I/O: every rule of delivery, and random schedules against a model."""

import itertools
import random

import msgspec
import pytest

from spacedrive_node.actors.base import Incoming
from spacedrive_node.actors.metrics.machine import Metrics
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import Outgoing, Step
from spacedrive_node.messages.from_supervisor import ActorRestarted
from spacedrive_node.messages.to_metrics import Observed, Sample, decode
from spacedrive_node.supervisor.actor_record import MAX_INBOX_MESSAGES
from spacedrive_node.supervisor.ledger import MAX_SESSION_MESSAGES, MAX_SESSION_RETAINED_BYTES, Ledger
from spacedrive_node.supervisor.ledger_effects import Forward, HandleRequest, Kill, Retire, Spawn, Warn

NIL = msgspec.Raw(b"\xc0")
A = "session-00000000000000aa"
B = "session-00000000000000bb"


def out(to, kind, body=b"\xc0", slot=b"", id=b"i" * 16):
    return Outgoing(to=to, kind=kind, id=id, body=msgspec.Raw(body), slot=slot)


def step(*sends, input=0, checkpoint=None, end=None):
    return Step(input=input, out=sends, checkpoint=checkpoint, end=end)


def start(ledger, name):
    """Begin an incarnation; return its Start and the effects of its Ready."""
    first = ledger.begin_incarnation(name, NIL)
    return first, ledger.mark_ready(name)


def frames(effects, to):
    return [effect.frame for effect in effects if isinstance(effect, Forward) and effect.to == to]


def kinds(effects, to):
    return [frame.kind for frame in frames(effects, to)]


@pytest.fixture
def ledger():
    """A node whose singletons are ready."""
    numbers = itertools.count()
    books = Ledger(max_sessions=2, new_id=lambda: next(numbers).to_bytes(16, "big"))
    for name in ("vault", "swarm", "discovery", "gateway", "metrics"):
        books.add_actor(name, stepping=name in ("vault", "metrics"))
        start(books, name)
    return books


@pytest.fixture
def with_session(ledger):
    """The same with one session, which has acknowledged its first message."""
    assert Spawn(A, "initiator") in ledger.apply_step("gateway", step(out(A, "StartPairing")))
    _, given = start(ledger, A)
    ledger.apply_step(A, step(input=frames(given, A)[0].input, checkpoint=b"1"))
    return ledger


def test_redelivery_is_the_same_envelope(with_session):
    """Unacknowledged inputs come again in order, with the same number, id, sender and incarnation."""
    sent = with_session.apply_step(
        "gateway", step(out(A, "Decide", b"\x01"), out(A, "CancelPairing", b"\x02"))
    )
    with_session.mark_down(A)
    first, again = start(with_session, A)
    assert first.checkpoint == b"1"
    assert first.incarnation == 2
    assert frames(again, A) == frames(sent, A)


def test_a_step_is_applied_as_one(with_session):
    """One forbidden message, and neither the checkpoint nor any other message of that step takes effect."""
    (given,) = frames(with_session.apply_step("gateway", step(out(A, "Decide"))), A)
    bad = step(out("swarm", "Ask"), out("vault", "Accept"), input=given.input, checkpoint=b"2")
    effects = with_session.apply_step(A, bad)
    assert [type(effect) for effect in effects] == [Warn, Kill]
    assert with_session.apply_step(A, step(out("swarm", "Ask"))) == [], "nothing after it counts either"
    assert with_session.unacknowledged_input(A) == given.input
    with_session.mark_down(A)
    first, again = start(with_session, A)
    assert first.checkpoint == b"1"
    assert frames(again, A) == [given]


@pytest.mark.parametrize(
    ("sender", "bad"),
    [
        (A, step(input=99)),
        ("swarm", step(input=1)),
        ("swarm", step(checkpoint=b"x")),
        ("vault", step(end="paired")),
        (A, step(out("vault", "StoreDevice", bytes(1 << 20)))),
        (A, step(checkpoint=bytes(1 << 20))),
        (A, step(out(B, "Decide"))),
    ],
)
def test_violations(with_session, sender, bad):
    """An actor that does what its kind may not do is killed."""
    assert Kill(sender, "exit") in with_session.apply_step(sender, bad)


def test_a_step_of_a_dead_actor_is_not_applied(with_session):
    """A step that is read after the incarnation has been marked as down has no effect."""
    with_session.mark_down(A)
    assert with_session.apply_step(A, step(out("swarm", "Ask"))) == []


def test_live_receiver_forgets_what_was_written(ledger):
    """A restarted live receiver gets what had not been written, and not what had."""
    first, second = frames(
        ledger.apply_step("discovery", step(out("swarm", "Bootstrap"), out("swarm", "KadRequest"))), "swarm"
    )
    ledger.mark_written("swarm", first.input)
    ledger.mark_down("swarm")
    _, again = start(ledger, "swarm")
    assert kinds(again, "swarm") == [second.kind]


def test_standing_first(with_session):
    """A restarted live receiver gets standing messages first: the last of each slot, none withdrawn."""
    with_session.apply_step(
        "vault",
        step(
            out("swarm", "KnownPeer", b"\x01", b"p"),
            out("swarm", "KnownPeer", b"\x02", b"q"),
            out("swarm", "KnownPeer", b"\x03", b"p"),
            out("swarm", "ForgetPeer", slot=b"q"),
        ),
    )
    with_session.mark_written("swarm", 1 << 60)
    with_session.mark_down("swarm")
    with_session.apply_step(A, step(out("swarm", "Ask"), out("swarm", "Serve")))
    _, given = start(with_session, "swarm")
    assert kinds(given, "swarm") == ["KnownPeer", "Serve", "Ask"]
    assert bytes(frames(given, "swarm")[0].body) == b"\x03"
    assert kinds(given, A) == kinds(given, "discovery") == [ActorRestarted.__name__]


def test_session_end(with_session):
    """At its end, standing messages are dropped, the last view stays, and the watchers are informed."""
    with_session.apply_step(A, step(out("swarm", "Serve"), out("gateway", "SessionView", b"\x01")))
    effects = with_session.apply_step(A, step(out("gateway", "SessionView", b"\x02"), end="cancelled"))
    assert effects[-1] == Retire(A, "initiator", "cancelled")
    for watcher in ("vault", "swarm", "discovery", "gateway", "metrics"):
        assert kinds(effects, watcher)[-1] == "SessionEnded"
    for name in ("swarm", "gateway"):
        with_session.mark_written(name, 1 << 60)
        with_session.mark_down(name)
    assert kinds(start(with_session, "swarm")[1], "swarm") == []
    given = start(with_session, "gateway")[1]
    assert kinds(given, "gateway") == ["SessionView", "SessionEnded", "ActorRestarted"]
    assert bytes(frames(given, "gateway")[0].body) == b"\x02"
    assert with_session.apply_step("gateway", step(out(A, "StartPairing"))) == [], "it is not made again"


def test_a_crashed_session_leaves_no_view(with_session):
    """Its last view may show a code; a gateway that starts later gets only its SessionEnded."""
    with_session.apply_step(A, step(out("gateway", "SessionView", b"\x01")))
    with_session.end_session(A, "crashed")
    with_session.mark_written("gateway", 1 << 60)
    with_session.mark_down("gateway")
    assert kinds(start(with_session, "gateway")[1], "gateway") == ["SessionEnded"]


def test_ended_sessions_are_bounded(ledger):
    """Only the last 1024 ended sessions are kept for the gateway."""
    for number in range(1100):
        name = f"session-{number:016x}"
        ledger.apply_step("gateway", step(out(name, "StartPairing")))
        _, given = start(ledger, name)
        ledger.apply_step(
            name, step(out("gateway", "SessionView"), input=frames(given, name)[0].input, end="expired")
        )
        for watcher in ("gateway", "swarm", "discovery"):
            ledger.mark_written(watcher, 1 << 60)
        for watcher in ("vault", "metrics"):
            ledger.apply_step(watcher, step(input=ledger.unacknowledged_input(watcher)))
    ledger.mark_down("gateway")
    assert len(start(ledger, "gateway")[1]) == 2048


def test_sessions_are_bounded(ledger):
    """No more sessions than allowed are started; the gateway gets Undeliverable."""
    for name in (A, B):
        assert Spawn(name, "joiner") in ledger.apply_step("gateway", step(out(name, "JoinPairing")))
    third = out("session-00000000000000cc", "StartPairing")
    assert kinds(ledger.apply_step("gateway", step(third)), "gateway") == ["Undeliverable"]
    assert kinds(ledger.apply_step("gateway", step(out("session", "StartPairing"))), "gateway") == [
        "Undeliverable"
    ]


def test_overflow(with_session):
    """A full inbox refuses the gateway and the swarm; a message from any other actor kills its owner."""
    for _ in range(MAX_INBOX_MESSAGES):
        with_session.apply_step("swarm", step(out(A, "PeerRequest")))
    refused = with_session.apply_step("gateway", step(out(A, "Decide")))
    assert kinds(refused, "gateway") == ["Undeliverable"]
    assert kinds(with_session.apply_step("swarm", step(out(A, "PeerRequest"))), "swarm") == ["Undeliverable"]
    killed = with_session.apply_step("discovery", step(out(A, "CandidateFound")))
    assert Kill(A, "hang") in killed
    assert with_session.apply_step("discovery", step(out(A, "CandidateFound"))) == []
    assert with_session.inbox_length(A) == MAX_INBOX_MESSAGES


def test_what_one_has_counted_stays_when_a_reload_takes_it_away_and_brings_it_back(ledger):
    """Metrics takes what it counts then for that of another process, and drops what it measured last."""
    metrics = Metrics("1.2.3")

    def deliver(effects):
        for given in frames(effects, "metrics"):
            metrics.step(Incoming(given.sender, given.incarnation, given.id, decode(given.body)), 0.0)
            ledger.apply_step("metrics", step(input=given.input))

    for count in (5.0, 7.0):
        ledger.add_actor("lan", stepping=False)
        start(ledger, "lan")
        samples = (Sample("mdns_packets_total", ("read",), count), Sample("port_mappings", ("mapped",), 1.0))
        body = encode(Observed(samples=samples))
        deliver(ledger.apply_step("lan", step(out("metrics", "Observed", body))))
        assert metrics.totals.numbers()["port_mappings", ("mapped",)] == 1.0
        ledger.mark_down("lan")
        deliver(ledger.remove_actor("lan"))
    assert metrics.totals.numbers() == {("mdns_packets_total", ("read",)): 12.0}


def test_requests_to_the_supervisor(ledger):
    """A message to the supervisor itself comes back as an effect, with its true sender."""
    (effect,) = ledger.apply_step("metrics", step(out("supervisor", "AreYouAlive")))
    assert isinstance(effect, HandleRequest)
    assert effect.envelope.sender == "metrics"


def test_bodies_do_not_show(with_session):
    """No repr of an effect quotes a body."""
    effects = with_session.apply_step("gateway", step(out(A, "Decide", b"\xa6secret")))
    assert "secret" not in repr(effects)


@pytest.mark.parametrize("seed", range(20))
def test_exactly_once_under_random_deaths(with_session, seed):
    """Whenever the session dies, its checkpoints and messages count each input once, in order."""
    chance = random.Random(seed)
    sent = 0
    running = []
    seen = []
    while len(seen) < 200:
        match chance.randrange(4):
            case 0 if sent < 200:
                body = msgspec.msgpack.encode(sent)
                sent += 1
                running += frames(with_session.apply_step("gateway", step(out(A, "Decide", body))), A)
            case 1 | 2 if running:
                given = running.pop(0)
                value = msgspec.msgpack.decode(given.body)
                effects = with_session.apply_step(
                    A,
                    step(out("swarm", "Ask", bytes(given.body)), input=given.input, checkpoint=b"%d" % value),
                )
                seen += [msgspec.msgpack.decode(frame.body) for frame in frames(effects, "swarm")]
                with_session.mark_written("swarm", 1 << 60)
            case 3:
                with_session.mark_down(A)
                first, given = start(with_session, A)
                running = frames(given, A)
                assert first.checkpoint == (b"%d" % seen[-1] if seen else b"1")
    assert seen == list(range(200))


def test_a_session_that_floods_harms_only_itself(with_session):
    """Too many messages in one step: the step has no effect and its sender is killed, not the receiver."""
    ledger = with_session
    sign = out("vault", "SignIdentity")
    effects = ledger.apply_step(A, step(*[sign] * (MAX_SESSION_MESSAGES + 1)))
    assert kinds(effects, "vault") == []
    assert Kill(A, "exit") in effects
    assert not [effect for effect in effects if isinstance(effect, Kill) and effect.name != A]


def test_standing_messages_of_a_session_are_small(with_session):
    """They take memory of the supervisor beyond a step, and retained ones beyond the session."""
    ledger = with_session
    view = out("gateway", "SessionView", body=b"\xc4" + bytes(MAX_SESSION_RETAINED_BYTES))
    assert Kill(A, "exit") in ledger.apply_step(A, step(view))


def test_a_session_that_floods_a_receiver_that_is_behind(with_session):
    """In many steps too: the session is killed; the vault keeps running, with the inputs of others."""
    ledger = with_session
    start(ledger, "vault")
    for number in range(300):
        ledger.apply_step("gateway", step(out("vault", "ListDevices", id=number.to_bytes(16, "big"))))
    killed = [
        ledger.apply_step(A, step(out("vault", "SignIdentity"))) for _ in range(MAX_SESSION_MESSAGES + 1)
    ]
    assert Kill(A, "exit") in killed[-1]
    assert ledger.inbox_length("vault") == 300 + MAX_SESSION_MESSAGES


@pytest.mark.parametrize("name", ["vault", "swarm", "discovery"])
def test_readiness_ends_with_its_sender(ledger, name):
    """Its watchers hear of it at once, and also when they restart meanwhile; not any more when it is back."""
    ledger.apply_step(
        name, step(*(out(to, "Readiness", b"\x01", name.encode()) for to in ("gateway", "metrics")))
    )
    ledger.mark_written("gateway", 1 << 60)
    effects = ledger.mark_down(name)
    assert kinds(effects, "gateway") == kinds(effects, "metrics") == ["ActorDown"]
    assert ledger.mark_down(name) == []
    ledger.mark_down("gateway")
    _, given = start(ledger, "gateway")
    kept = ["Readiness"] if name == "vault" else []
    assert kinds(given, "gateway") == [*kept, "ActorDown"]
    ledger.mark_written("gateway", 1 << 60)
    _, back = start(ledger, name)
    assert kinds(back, "gateway") == kinds(back, "metrics") == ["ActorRestarted"]
    ledger.mark_down("gateway")
    _, given = start(ledger, "gateway")
    assert kinds(given, "gateway")[: len(kept)] == kept
    assert "ActorDown" not in kinds(given, "gateway")
