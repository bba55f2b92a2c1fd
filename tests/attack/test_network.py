"""Attackers on the network against real nodes: none pairs, and the true device pairs afterwards."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from spacedrive_node.client.node_client import PairingFailedError
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import (
    Challenge,
    ChallengeResponse,
    DeviceInfo,
    PairingDecision,
    PairingRequest,
    Refused,
    decode_wire,
)
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.attempt import JoinerAttempt, ProofFailedError
from spacedrive_node.protocol.code import code_id
from spacedrive_node.protocol.identity import device_id
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, pair, running_node
from spacedrive_node.tests.harness.peer_device import (
    JoinerRun,
    PeerDevice,
    addresses_of,
    code_keys_of,
    kad_answer,
    open_device,
    open_devices,
    with_key,
)

IDENTITY_POINT = b"\x01" + bytes(31)
"""A point of order 1, for which anybody can make signatures that fit the equation."""


async def trusted(node: Node) -> list[bytes]:
    return [device.peer for device in await node.client.devices()]


async def complete(node: Node, showing: Any, device: PeerDevice, run: JoinerRun) -> None:
    """Let both users accept, and see that the node trusts the device."""
    proven = device.finish(run)
    await showing.confirmation()
    await showing.accept()
    assert await device.refusal_reason(node, proven.decision_frame(True)) == "DecisionReceived"
    await showing.paired()
    assert device.peer in await trusted(node)


async def test_man_in_the_middle_who_does_not_know_the_words(tmp_path: Path) -> None:
    """One who is found first and relays every frame both ways gets refusals; the true devices pair."""
    async with running_node(tmp_path, "anna") as anna, open_device() as middle:
        relayed: list[tuple[bytes, bytes | None]] = []

        async def relay(_peer: bytes, frame: bytes) -> bytes | None:
            answer = await middle.exchange(anna, frame)
            relayed.append((frame, answer))
            return answer

        middle.answer = relay
        true = PeerAddresses(anna.ready.peer, anna.ready.addresses)
        # It keeps the joiner to itself until it has had its chance.
        middle.serve_dht(lambda _request: kad_answer([addresses_of(middle)], [true] if relayed else []))
        async with running_node(tmp_path, "bruno", bootstrap=(middle.bootstrap,)) as bruno:
            result = await pair(anna, bruno)
            assert (result.initiator.outcome, result.joiner.outcome) == ("paired", "paired")
            assert relayed
            for frame, answer in relayed:
                assert isinstance(decode_wire(frame), PairingRequest)  # nothing of the joiner was said
                assert answer is not None
                assert isinstance(decode_wire(answer), Refused)
            assert await trusted(anna) == [bruno.ready.peer]
            assert await trusted(bruno) == [anna.ready.peer]


async def test_man_in_the_middle_who_rewrites_the_code_id(tmp_path: Path) -> None:
    """With the route key too, on which no proof hangs, what is relayed proves nothing to either side."""
    async with running_node(tmp_path, "anna") as anna, open_device() as middle, open_device() as true:
        with trio.fail_after(DEADLINE):
            showing = await anna.client.start_pairing()
            keys = code_keys_of(showing.code.words)
            joiner = JoinerAttempt.begin(
                auth_key=keys.auth_key,
                route_key=keys.route_key,
                initiator=middle.peer,
                joiner=true.peer,
                attempt=b"a" * 16,
                ephemeral=b"e" * 32,
                nonce=b"n" * 32,
            )
            request = decode_wire(joiner.request_frame)
            assert isinstance(request, PairingRequest)
            name = code_id(keys.route_key, anna.ready.peer, middle.peer)
            answer = await middle.exchange(anna, encode(msgspec.structs.replace(request, code_id=name)))
            assert answer is not None
            challenge = decode_wire(answer)
            assert isinstance(challenge, Challenge)
            with pytest.raises(ProofFailedError):
                joiner.verify_challenge(encode(msgspec.structs.replace(challenge, code_id=joiner.code_id)))
            sealed = encode(ChallengeResponse(name, request.attempt, b"s" * 200))
            assert await middle.refusal_reason(anna, sealed) == "protocol"
            assert showing.state.device is None
            await complete(anna, showing, true, await true.prove(anna, keys))
            assert await trusted(anna) == [true.peer]


async def test_replayed_and_reflected_frames(tmp_path: Path) -> None:
    """Every frame again: to the same peer the same bytes; to others, of others, or returned: a refusal."""
    async with (
        running_node(tmp_path, "anna") as anna,
        open_device() as true,
        open_device() as thief,
    ):
        with trio.fail_after(DEADLINE):
            showing = await anna.client.start_pairing()
            keys = code_keys_of(showing.code.words)
            run = await true.prove(anna, keys)
            proven = true.finish(run)
            frames = [(run.crypto.request_frame, run.challenge), (run.response, run.answer)]
            for again in (False, True):
                for frame, answer in frames:
                    assert await true.exchange(anna, frame, again=again) == answer
            decision = proven.decision_frame(True)
            # From another peer: no frame of the attempt exists for it, and the code is claimed.
            for frame in (run.crypto.request_frame, run.response):
                assert await thief.refusal_reason(anna, frame) == "unavailable"
            assert await thief.refusal_reason(anna, decision) == "closed"
            # The same attempt under the thief's own code_id: it knows the words, and comes too late.
            name = code_id(keys.route_key, anna.ready.peer, thief.peer)
            for frame in (run.crypto.request_frame, run.response, decision):
                renamed = msgspec.structs.replace(decode_wire(frame), code_id=name)
                assert await thief.refusal_reason(anna, encode(renamed)) == "closed"
            # Frames of the node itself, returned to it.
            for frame in (run.challenge, run.answer):
                assert await true.refusal_reason(anna, frame) == "reset"
            await showing.confirmation()
            await showing.accept()
            await true.requested.wait()
            _peer, own = true.requests[0]
            assert await true.refusal_reason(anna, own) == "protocol"
            assert await true.refusal_reason(anna, of_another_attempt(decision)) in ("closed", "unavailable")
            assert await trusted(anna) == []
            received = await true.exchange(anna, decision)
            assert received is not None
            assert proven.verify_received(decision, received)
            assert not proven.verify_received(own, received)
            await showing.paired()
            # Afterwards: the same bytes for the peer from the session or the store; nothing for others.
            assert await true.exchange(anna, decision, again=True) == received
            assert await thief.refusal_reason(anna, decision, again=True) == "closed"
            # And in another session, with another code, none of it is anything.
            other = await anna.client.start_pairing()
            for frame, _answer in frames:
                assert await true.refusal_reason(anna, frame, again=True) in ("closed", "unavailable")
            assert other.state.stage == "waiting"
            assert await trusted(anna) == [true.peer]


def of_another_attempt(frame: bytes) -> bytes:
    return encode(msgspec.structs.replace(decode_wire(frame), attempt=b"o" * 16))


CLAIMS: dict[str, tuple[Callable[[DeviceInfo, PeerDevice], DeviceInfo], bytes | None]] = {
    "device id of another": (
        lambda i, v: msgspec.structs.replace(i, device_id=device_id(v.public_key)),
        None,
    ),
    "device key of another": (lambda i, v: with_key(i, v.public_key), None),
    "bidirectional name": (lambda i, _v: msgspec.structs.replace(i, name="\u202egnp.exe"), None),
    "control characters": (lambda i, _v: msgspec.structs.replace(i, name="a\x1b[2J\r\n"), None),
    "invisible name": (lambda i, _v: msgspec.structs.replace(i, name="\u200b\u2060"), None),
    "key of small order": (lambda i, _v: with_key(i, IDENTITY_POINT), IDENTITY_POINT + bytes(32)),
}


async def test_false_claims_about_the_own_device(tmp_path: Path) -> None:
    """Each is refused before the user sees it and claims no code; the true device pairs with that code."""
    async with running_node(tmp_path, "anna") as anna, open_device() as true:
        with trio.fail_after(DEADLINE):
            first = await anna.client.start_pairing()
            await complete(anna, first, true, await true.prove(anna, code_keys_of(first.code.words)))
            before = await anna.client.devices()
            showing = await anna.client.start_pairing()
            keys = code_keys_of(showing.code.words)
            for claim, (alter, signature) in CLAIMS.items():
                async with open_device(listen=False) as liar:
                    run = await liar.prove(anna, keys, lambda info, alter=alter: alter(info, true), signature)
                    refused = decode_wire(run.answer)
                    assert isinstance(refused, Refused), claim
                    assert refused.reason == "protocol"
                    assert showing.state.device is None
            async with open_device(listen=False) as liar:
                for eph in (bytes(32), IDENTITY_POINT):
                    request = decode_wire(liar.begin(anna, keys).request_frame)
                    frame = encode(msgspec.structs.replace(request, eph=eph))
                    assert await liar.refusal_reason(anna, frame) == "protocol"
            assert await anna.client.devices() == before
            await complete(anna, showing, true, await true.prove(anna, keys))


DECOYS = 100


async def test_a_hundred_decoys(tmp_path: Path) -> None:
    """Decoys that answer garbage, wrong proofs, `busy` for ever, or nothing do not keep the devices apart."""

    async def garbage(_peer: bytes, _frame: bytes) -> bytes | None:
        return b"garbage"

    async def wrong(_peer: bytes, frame: bytes) -> bytes | None:
        request = decode_wire(frame)
        return encode(Challenge(request.code_id, request.attempt, b"e" * 32, b"n" * 32, b"p" * 32))

    async def busy(_peer: bytes, frame: bytes) -> bytes | None:
        request = decode_wire(frame)
        return encode(Refused(request.code_id, request.attempt, "busy"))

    async def hang(_peer: bytes, _frame: bytes) -> bytes | None:
        await trio.sleep_forever()
        return None

    kinds = itertools.cycle((garbage, wrong, busy, hang))
    async with (
        running_node(tmp_path, "server") as server,
        running_node(tmp_path, "anna", bootstrap=(server.bootstrap,), dht_mode="client") as anna,
        open_devices(DECOYS) as decoys,
    ):
        with trio.fail_after(DEADLINE):
            showing = await anna.client.start_pairing()
            keys = code_keys_of(showing.code.words)
            watcher = decoys[0]
            while anna.ready.peer not in await watcher.providers(server, keys.provider_key):
                await trio.lowlevel.checkpoint()
            for decoy, kind in zip(decoys, kinds, strict=False):
                decoy.answer = kind
                await decoy.announce(server, keys.provider_key)
            async with running_node(tmp_path, "bruno", bootstrap=(server.bootstrap,)) as bruno:
                joining = await bruno.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
                await joining.confirmation()
                await showing.confirmation()
                await joining.accept()
                await showing.accept()
                await joining.paired()
                await showing.paired()
                assert await trusted(bruno) == [anna.ready.peer]
                assert await trusted(anna) == [bruno.ready.peer]
            for decoy in decoys:
                for _peer, frame in decoy.requests:
                    assert isinstance(decode_wire(frame), PairingRequest)


async def test_dht_servers_that_lie(tmp_path: Path) -> None:
    """Garbage, huge lists, and themselves as provider: the honest server on the path is enough."""
    huge = [bytes([0, 36, 8, 1, 18, 32]) + number.to_bytes(32, "big") for number in range(2000)]
    async with (
        running_node(tmp_path, "anna") as anna,
        open_device() as garbled,
        open_device() as boasting,
        open_device() as vain,
    ):
        garbled.serve_dht(lambda _request: b"\xff" * 1000)
        named = [msgspec.structs.replace(addresses_of(boasting), peer=peer) for peer in huge]
        boast = kad_answer(named, named)
        boasting.serve_dht(lambda _request: boast)
        vain.serve_dht(lambda _request: kad_answer([addresses_of(vain)], [addresses_of(vain)]))
        liars = tuple(liar.bootstrap for liar in (garbled, boasting, vain))
        async with running_node(tmp_path, "bruno", bootstrap=(*liars, anna.bootstrap)) as bruno:
            await pair(anna, bruno)
            assert await trusted(bruno) == [anna.ready.peer]
            assert all(isinstance(decode_wire(frame), PairingRequest) for _peer, frame in vain.requests)


async def test_a_bare_acceptance_ends_no_pairing(tmp_path: Path) -> None:
    """A decision from a stranger, or from a peer whose attempt has proved nothing, changes nothing."""
    async with running_node(tmp_path, "anna") as anna, open_device() as stranger, open_device() as true:
        with trio.fail_after(DEADLINE):
            showing = await anna.client.start_pairing()
            keys = code_keys_of(showing.code.words)
            name = code_id(keys.route_key, anna.ready.peer, stranger.peer)
            assert (
                await stranger.refusal_reason(anna, encode(PairingDecision(name, b"t" * 16, b"s" * 17)))
                == "closed"
            )
            begun = stranger.begin(anna, keys)
            assert await stranger.refusal_reason(anna, begun.request_frame) == "Challenge"
            bare = encode(PairingDecision(name, begun.attempt, b"s" * 17))
            assert await stranger.refusal_reason(anna, bare) == "busy"
            assert await trusted(anna) == []
            await complete(anna, showing, true, await true.prove(anna, keys))


async def test_decoys_that_decide(tmp_path: Path) -> None:
    """Whoever was asked knows a code_id of the joiner: its decisions neither reach it nor crowd others out.

    The vault keeps sixteen peers of a session, which decoys that went through used to push out.
    """

    async def busy(_peer: bytes, frame: bytes) -> bytes | None:
        request = decode_wire(frame)
        return encode(Refused(request.code_id, request.attempt, "busy"))

    async with running_node(tmp_path, "anna") as anna, open_device() as liar, open_devices(17) as decoys:
        for decoy in decoys:
            decoy.answer = busy
        named = [addresses_of(decoy) for decoy in decoys]
        true = PeerAddresses(anna.ready.peer, anna.ready.addresses)
        # The joiner hears of the true device when it has asked every decoy.
        liar.serve_dht(
            lambda _request: kad_answer(named, [true] if all(decoy.requests for decoy in decoys) else [])
        )
        async with running_node(tmp_path, "bruno", bootstrap=(liar.bootstrap,)) as bruno:
            with trio.fail_after(DEADLINE):
                showing = await anna.client.start_pairing()
                joining = await bruno.client.join_pairing(" ".join(showing.code.words), timeout=DEADLINE)
                await joining.confirmation()
                await showing.confirmation()
                await showing.accept()
                async with trio.open_nursery() as nursery:
                    for decoy in decoys:
                        # Each has decided before bruno's user has: the vault stores when he accepts.
                        await nursery.start(decide_for_ever, decoy, bruno)
                    await joining.accept()
                    await joining.paired()
                    await showing.paired()
                    nursery.cancel_scope.cancel()
                assert await trusted(bruno) == [anna.ready.peer]
                assert await trusted(anna) == [bruno.ready.peer]


async def decide_for_ever(decoy: PeerDevice, joiner: Node, *, task_status: trio.TaskStatus[None]) -> None:
    """Send decisions of the attempt that the joiner began and of others, until the joiner listens no more."""
    asked = decode_wire(decoy.requests[0][1])
    for number in itertools.count():
        attempt = number.to_bytes(16, "big") if number % 4 else asked.attempt
        reason = await decoy.refusal_reason(
            joiner, encode(PairingDecision(asked.code_id, attempt, b"s" * 40))
        )
        if number == 0:
            task_status.started()
        if reason == "reset":
            return
        assert reason in ("busy", "closed")


async def test_who_comes_late_hears_that_the_code_is_over(tmp_path: Path) -> None:
    """After `paired` and after the user has cancelled: `closed`, which a joiner shows as `expired`."""
    async with running_node(tmp_path, "anna") as anna, open_device() as true, open_device() as late:
        with trio.fail_after(DEADLINE):
            used = await anna.client.start_pairing()
            keys = code_keys_of(used.code.words)
            await complete(anna, used, true, await true.prove(anna, keys))
            cancelled = await anna.client.start_pairing()
            await cancelled.cancel()
            with pytest.raises(PairingFailedError):
                await cancelled.paired()
            for over in (keys, code_keys_of(cancelled.code.words)):
                assert await late.refusal_reason(anna, late.begin(anna, over).request_frame) == "closed"
            words = code_keys_of((await anna.client.start_pairing()).code.words)
            assert await late.refusal_reason(anna, late.begin(anna, words).request_frame) == "Challenge"
