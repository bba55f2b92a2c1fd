"""A session process that has been taken over, in a real node: what it may not do does not happen.

`victim` is the device that the user sees and means; `intruder` is the device of whoever has taken the session
over. It knows the words, and carries frames of the session, so that the swarm names it to the vault.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import trio

from spacedrive_node.client.errors import ControlError
from spacedrive_node.client.node_client import Pairing
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.child_protocol import Step
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.peer_protocol import (
    ChallengeConfirmation,
    ChallengeResponse,
    PairingDecision,
    Refused,
)
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_gateway import (
    Confirmation,
    Devices,
    NodeIdentity,
    Readiness,
    SeenDevice,
    SessionView,
)
from spacedrive_node.messages.to_metrics import Observed
from spacedrive_node.messages.to_swarm import Ask, ForgetPeer, KnownPeer, Listening, SwarmIdentity
from spacedrive_node.messages.to_vault import Accept, ForgetDevice, PeerEvidence, SignIdentity
from spacedrive_node.protocol import keys
from spacedrive_node.protocol.code import CodeKeys
from spacedrive_node.protocol.identity import device_id, make_info, signing_input
from spacedrive_node.supervisor.ledger import SUPERVISOR, Ledger
from spacedrive_node.supervisor.ledger_effects import Kill
from spacedrive_node.supervisor.routes import ROUTES, find_route
from spacedrive_node.tests.harness.compromised_session import CompromisedSession, envelope
from spacedrive_node.tests.harness.nodes import DEADLINE, Node
from spacedrive_node.tests.harness.peer_device import JoinerRun, PeerDevice, code_keys_of, open_device

SESSION = "session-" + "a" * 16
OTHER = "session-" + "b" * 16


async def start(node: Node) -> tuple[Pairing, CodeKeys]:
    pairing = await node.client.start_pairing()
    return pairing, code_keys_of(pairing.code.words)


async def carry(node: Node, compromised: CompromisedSession, device: PeerDevice, keys: CodeKeys) -> JoinerRun:
    """Let a device carry frames of the session both ways, and sign a true identity for it.

    The session sends it what only a peer that has proved the code gets, so the swarm tells the vault of it.
    """
    attempt = device.begin(node, keys)
    assert await device.refusal_reason(node, attempt.request_frame) == "Challenge"

    async def answer(_peer: bytes, _frame: bytes) -> bytes:
        return encode(Refused(attempt.code_id, attempt.attempt, "busy"))

    device.answer = answer
    frame = encode(ChallengeResponse(attempt.code_id, attempt.attempt, b"s" * 40))
    await compromised.send_step(envelope("swarm", Ask(7000, device.peer, (), frame)))
    while not any(one.kind == "PeerAnswer" for one in compromised.delivered):
        await compromised.changed.wait()
    confirmation = encode(ChallengeConfirmation(attempt.code_id, attempt.attempt, b"s" * 40))
    th = os.urandom(32)
    info = make_info(
        public_key=device.public_key, name=device.name, os="test", app_version="1", nonce=attempt.nonce
    )
    return JoinerRun(
        attempt,
        b"",
        info,
        device.key.sign(signing_input("joiner", th, device.peer, info)),
        th,
        frame,
        confirmation,
    )


async def shows(
    node: Node, compromised: CompromisedSession, forged: JoinerRun, intruder: PeerDevice, *views: SessionView
) -> None:
    """Have the session send views, and return when the gateway has taken them."""
    number = len(compromised.delivered) + 5000
    await compromised.send_step(*(envelope("gateway", one) for one in views))
    assert await compromised.store(
        intruder.forged_store(forged, forged.th1, number)
    )  # the supervisor has sent them on
    await node.client.actors()  # the answer comes to the gateway behind them


async def trusted(node: Node) -> list[bytes]:
    return [device.public_key for device in await node.client.devices()]


def seen(device: PeerDevice) -> SeenDevice:
    return SeenDevice(device_id(device.public_key), device.name, "test", device.public_key, device.peer)


def view(pairing: Pairing, shown: SeenDevice, th3: bytes) -> SessionView:
    return SessionView(
        pairing.id, "initiator", "deciding", 0.0, confirmation=Confirmation(shown, "123456", th3)
    )


async def test_nothing_is_stored_but_what_the_user_accepted(compromised_node: Callable[[], Any]) -> None:
    """Without acceptance, or for another key, peer, transcript or role, StoreDevice is refused."""
    async with (
        compromised_node() as (node, compromised),
        open_device("victim") as victim,
        open_device("intruder") as intruder,
    ):
        with trio.fail_after(DEADLINE):
            pairing, keys = await start(node)
            forged = await carry(node, compromised, intruder, keys)
            run = await victim.prove(node, keys)
            proven = victim.finish(run)
            await pairing.confirmation()
            assert "not accepted" in await compromised.store(victim.forged_store(run, proven.th3, 2000))
            await pairing.accept()
            other = encode(PairingDecision(b"o" * 16, b"t" * 16, b"1" * 32))
            lies = [
                intruder.forged_store(forged, proven.th3),
                intruder.forged_store(forged, forged.th1),
                victim.forged_store(run, proven.th3, peer=intruder.peer),
                victim.forged_store(run, proven.th3, peer=node.ready.peer),
                victim.forged_store(run, os.urandom(32)),
                victim.forged_store(run, proven.th3, role="initiator"),
                victim.forged_store(run, proven.th3, th=os.urandom(32)),
                victim.forged_store(run, proven.th3, info=forged.info),
                victim.forged_store(run, proven.th3, decision=b"garbage"),
                victim.forged_store(run, proven.th3, decision=other),
            ]
            for number, lie in enumerate(lies, 2001):
                assert await compromised.store(msgspec.structs.replace(lie, request=number))
            assert await trusted(node) == []
            assert await victim.refusal_reason(node, proven.decision_frame(True)) == "DecisionReceived"
            await pairing.paired()
            assert await trusted(node) == [victim.public_key]


@pytest.mark.parametrize("signed", ["nothing", "another pairing", "as the joiner", "this pairing"])
async def test_the_pairing_that_is_stored_is_the_one_that_was_signed(
    compromised_node: Callable[[], Any], signed: str
) -> None:
    """The user accepts, and the device has signed. The session has the vault sign for something else."""
    async with compromised_node() as (node, compromised), open_device("intruder") as intruder:
        with trio.fail_after(DEADLINE):
            pairing, code_keys = await start(node)
            forged = await carry(node, compromised, intruder, code_keys)
            th2 = keys.th_next(forged.th1, forged.response)
            th3 = keys.th_next(th2, forged.answer)
            sign = {
                "another pairing": SignIdentity(1, "initiator", os.urandom(32)),
                "as the joiner": SignIdentity(1, "joiner", th2, os.urandom(32)),
                "this pairing": SignIdentity(1, "initiator", th2),
            }.get(signed)
            if sign is not None:
                await compromised.send_step(envelope("vault", sign))
            shown = view(pairing, seen(intruder), th3)
            await shows(node, compromised, forged, intruder, shown)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pairing.accept)
                while not any(one.kind == "Decide" for one in compromised.delivered):
                    await compromised.changed.wait()
                accepted = msgspec.structs.replace(shown, accepted=True)
                await compromised.send_step(envelope("gateway", accepted))
            reason = await compromised.store(intruder.forged_store(forged, th3, 2000))
            assert ("sign" in reason) == (signed != "this pairing")
            assert await trusted(node) == ([intruder.public_key] if signed == "this pairing" else [])


@pytest.mark.parametrize("gateway_killed", [False, True])
async def test_another_device_than_the_one_shown(
    compromised_node: Callable[[], Any], gateway_killed: bool
) -> None:
    """A device put in the place of the one that the user sees is not accepted, whatever restarts."""
    async with (
        compromised_node() as (node, compromised),
        open_device("victim") as victim,
        open_device("intruder") as intruder,
    ):
        with trio.fail_after(DEADLINE):
            pairing, keys = await start(node)
            forged = await carry(node, compromised, intruder, keys)
            run = await victim.prove(node, keys)
            proven = victim.finish(run)
            assert (await pairing.confirmation()).device.public_key == victim.public_key
            await shows(node, compromised, forged, intruder, view(pairing, seen(intruder), proven.th3))
            if gateway_killed:
                os.kill((await node.pids())["gateway"], signal.SIGKILL)
                await node.client.status()
            with suppress(ControlError):  # after the restart the gateway knows the other device only
                await pairing.accept()
            assert await compromised.store(intruder.forged_store(forged, proven.th3, 2000))
            assert await trusted(node) == []


async def test_a_device_id_that_does_not_belong_to_the_key_is_not_shown(
    compromised_node: Callable[[], Any],
) -> None:
    """The intruder's key under the victim's id or with a deceiving name never reaches the user."""
    async with (
        compromised_node() as (node, compromised),
        open_device("victim") as victim,
        open_device("intruder") as intruder,
    ):
        with trio.fail_after(DEADLINE):
            pairing, keys = await start(node)
            forged = await carry(node, compromised, intruder, keys)
            mixed = msgspec.structs.replace(seen(intruder), device_id=device_id(victim.public_key))
            turned = msgspec.structs.replace(seen(intruder), name="\u202egnp.exe")
            views = [view(pairing, shown, forged.th1) for shown in (mixed, turned)]
            await shows(node, compromised, forged, intruder, *views)
            assert (await node.client.session(pairing.id)).state.device is None
            with pytest.raises(ControlError):
                await pairing.accept()
            assert await compromised.store(intruder.forged_store(forged, forged.th1, 2001))


async def test_a_session_speaks_for_no_other_session(compromised_node: Callable[[], Any]) -> None:
    """Neither its views, nor its words to the vault, nor its answers to peers count for another session."""
    async with (
        compromised_node() as (node, compromised),
        open_device("victim") as victim,
        open_device("intruder") as intruder,
    ):
        with trio.fail_after(DEADLINE):
            pairing, keys = await start(node)
            run = await victim.prove(node, keys)
            proven = victim.finish(run)
            await pairing.confirmation()
            bad, bad_keys = await start(node)  # its channel is the one that is used from here on
            forged = await carry(node, compromised, intruder, bad_keys)
            other = view(pairing, seen(intruder), proven.th3)
            await shows(
                node, compromised, forged, intruder, other, msgspec.structs.replace(other, outcome="rejected")
            )
            await pairing.accept()
            assert await compromised.store(victim.forged_store(run, proven.th3, 2000))
            assert await compromised.store(intruder.forged_store(forged, proven.th3, 2001))
            await compromised.send_step(end="paired")  # it may say so; nothing is trusted by it
            await bad.paired()
            assert await trusted(node) == []
            assert await victim.refusal_reason(node, proven.decision_frame(True)) == "DecisionReceived"
            await pairing.paired()
            assert await trusted(node) == [victim.public_key]


async def test_bodies_of_another_kind_do_nothing(compromised_node: Callable[[], Any]) -> None:
    """What a session may not send does not come through under the name of what it may send."""
    async with (
        compromised_node() as (node, compromised),
        open_device("victim") as victim,
        open_device("intruder") as intruder,
    ):
        with trio.fail_after(DEADLINE):
            pairing, keys = await start(node)
            forged = await carry(node, compromised, intruder, keys)
            before = await node.client.status()
            pids = await node.pids()
            smuggled = {
                "vault": [
                    Accept(pairing.id, intruder.public_key, forged.th1),
                    PeerEvidence(pairing.id, intruder.peer),
                    ForgetDevice(1, device_id(victim.public_key)),
                    SessionEnded(pairing.id, "initiator", "paired"),
                ],
                "swarm": [
                    SwarmIdentity(os.urandom(32)),
                    KnownPeer(intruder.peer),
                    ForgetPeer(victim.peer),
                    Listening(("/ip4/127.0.0.1/tcp/1",)),
                ],
                "gateway": [
                    NodeIdentity(b"i" * 16, "intruder", intruder.public_key, intruder.peer),
                    Readiness("vault", False, "no"),
                    Devices(1, (), False),
                ],
                "discovery": [SwarmUp(intruder.peer, (), ())],
                "metrics": [Readiness("vault", False, "no"), SessionEnded(pairing.id, "initiator", "paired")],
            }
            for receiver, bodies in smuggled.items():
                kinds = [
                    route.kind
                    for route in ROUTES
                    if "session" in route.senders and route.receiver == receiver
                ]
                assert kinds
                await compromised.send_step(
                    *(envelope(receiver, body, kind=kind) for kind in kinds for body in bodies)
                )
            assert "not accepted" in await compromised.store(intruder.forged_store(forged, forged.th1, 2000))
            after = await node.client.status()
            assert msgspec.structs.replace(after, id=before.id) == before
            assert await node.pids() == pids
            run = await victim.prove(node, keys)
            proven = victim.finish(run)
            await pairing.confirmation()
            await pairing.accept()
            await victim.refusal_reason(node, proven.decision_frame(True))
            await pairing.paired()
            assert await trusted(node) == [victim.public_key]


async def test_a_forbidden_message_ends_its_process_and_nothing_else(
    compromised_node: Callable[[], Any],
) -> None:
    """The step is dropped whole and its sender killed; the session goes on from before it, and pairs."""
    forbidden = {
        "vault": Accept("a" * 16, b"k" * 32, b"t" * 32),
        "swarm": SwarmIdentity(b"s" * 32),
        "gateway": NodeIdentity(b"i" * 16, "x", b"k" * 32, b"\x00\x24" + b"p" * 36),
        "supervisor": SessionEnded("a" * 16, "initiator", "paired"),
        OTHER: Accept("a" * 16, b"k" * 32, b"t" * 32),
    }
    async with compromised_node() as (node, compromised), open_device("victim") as victim:
        pids = await node.pids()
        for number, (receiver, message) in enumerate(forbidden.items(), 1):
            with trio.fail_after(DEADLINE):
                pairing, keys = await start(node)
                await compromised.send_step(
                    envelope("metrics", Observed(samples=())), envelope(receiver, message)
                )
                run = await victim.prove(node, keys)
                assert (await pairing.confirmation()).device.public_key == victim.public_key
                assert sum(line[2] == "forbidden step" for line in node.logs) == number
        proven = victim.finish(run)
        await pairing.accept()
        await victim.refusal_reason(node, proven.decision_frame(True))
        await pairing.paired()
        assert pids.items() <= (await node.pids()).items()


def test_every_forbidden_message_kills_its_sender() -> None:
    """Every kind to every receiver: a session gets through with those of its own rows alone."""
    kinds = {route.kind for route in ROUTES} | {"SessionEnded", "ActorRestarted", "Undeliverable", "Invented"}
    receivers = ("vault", "swarm", "discovery", "gateway", "metrics", SUPERVISOR, SESSION, OTHER, "zygote")
    allowed = 0
    for kind in kinds:
        for receiver in receivers:
            ledger = Ledger(max_sessions=4, new_id=lambda: b"i" * 16)
            for name in ("vault", "swarm", "discovery", "gateway", "metrics", SESSION, OTHER):
                ledger.add_actor(name, stepping=True, role="initiator" if "-" in name else None)
                ledger.begin_incarnation(name, msgspec.Raw(b"\x80"))
                ledger.mark_ready(name)
            step = Step(
                0,
                (
                    envelope("metrics", Observed(samples=())),
                    envelope(receiver, Observed(samples=()), kind=kind),
                ),
            )
            effects = ledger.apply_step(SESSION, step)
            if find_route(kind, SESSION, receiver):
                allowed += 1
            else:
                assert [effect for effect in effects if isinstance(effect, Kill)] == [Kill(SESSION, "exit")]
                assert ledger.inbox_length("metrics") == 0
    assert allowed == 12
