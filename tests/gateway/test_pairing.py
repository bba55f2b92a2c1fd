"""A client and the gateway with a session between them: start, states, decision, end."""

import os

import pytest
import trio

from spacedrive_node.actors.gateway import actor_requests
from spacedrive_node.actors.gateway.session_store import MAX_ENDED_SESSIONS, SessionStore
from spacedrive_node.client.node_client import ControlError, NodeClient, PairingFailedError, open_client
from spacedrive_node.messages import to_session
from spacedrive_node.messages.control_protocol import (
    Done,
    JoinPairing,
    SessionStarted,
    StartPairing,
    Subscribe,
)
from spacedrive_node.messages.from_supervisor import SessionEnded, Undeliverable
from spacedrive_node.protocol.code import parse_code, words_of
from spacedrive_node.tests.harness.fake_node import DEADLINE
from spacedrive_node.tests.harness.raw_client import RawClient


async def begin(node, client: NodeClient, nursery: trio.Nursery, code: bytes):
    """Start a pairing, playing its session; returns the client's Pairing."""
    box = []

    async def start() -> None:
        box.append(await client.start_pairing())

    async with trio.open_nursery() as inner:
        inner.start_soon(start)
        (sent,) = await node.next_step("StartPairing")
        session = to_session.decode(sent.body).session
        assert sent.to == f"session-{session}"
        await node.show_session(session, code=code, expires=1e9)
    return box[0]


async def test_a_pairing_from_the_code_to_paired(node, client, nursery, code, proven_device, accept_of):
    """Words and QR text reach the client; acceptance reaches vault and session in one step, in order."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        assert pairing.code.words == words_of(code)
        assert parse_code(pairing.code.qr)[0] == code
        assert "abandon" not in repr(pairing.code)

        await node.show_session(pairing.id, "proving", code=code)
        await node.show_session(pairing.id, "deciding", confirmation=proven_device)
        seen = await pairing.confirmation()
        assert (seen.device.public_key, seen.check) == (proven_device.device.public_key, "012345")

        async with trio.open_nursery() as inner:
            inner.start_soon(pairing.accept)
            accept, decide = await node.next_step("Accept", "Decide")
            assert accept_of(accept).public_key == proven_device.device.public_key
            assert accept_of(accept).th3 == proven_device.th3
            assert accept_of(accept).session == pairing.id
            assert to_session.decode(decide.body) == to_session.Decide(True)
            assert (accept.to, decide.to) == ("vault", f"session-{pairing.id}")
            await node.show_session(pairing.id, "storing", confirmation=proven_device, accepted=True)
        await node.show_session(
            pairing.id, "storing", confirmation=proven_device, accepted=True, outcome="paired",
            fingerprint="0123456789abcdef", seconds=1.5, path="direct",
        )  # fmt: skip
        end = await pairing.paired()
        assert (end.outcome, end.fingerprint, end.path) == ("paired", "0123456789abcdef", "direct")
        assert end.words is None


async def test_paired_with_the_policy_to_accept(node, client, nursery, code, proven_device):
    """paired(accept=True) accepts by itself; without it nothing is decided."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        await node.show_session(pairing.id, "deciding", confirmation=proven_device)
        async with trio.open_nursery() as inner:
            inner.start_soon(lambda: pairing.paired(accept=True))
            await node.next_step("Accept", "Decide")
            await node.show_session(pairing.id, "storing", confirmation=proven_device, accepted=True)
            await node.show_session(
                pairing.id, "storing", confirmation=proven_device, accepted=True, outcome="paired"
            )


async def test_decisions_are_final(node, client, nursery, code, proven_device):
    """Repeating a decision is done; the contrary, and cancelling after it, are already_decided."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        with pytest.raises(ControlError) as early:
            await pairing.accept()
        assert early.value.code == "not_deciding"
        await node.show_session(pairing.id, "deciding", confirmation=proven_device)
        await pairing.confirmation()
        async with trio.open_nursery() as inner:
            inner.start_soon(pairing.accept)
            await node.next_step("Accept", "Decide")
            with pytest.raises(ControlError) as contrary:
                await pairing.reject()
            assert contrary.value.code == "already_decided"
            await node.show_session(pairing.id, "deciding", confirmation=proven_device, accepted=True)
        await pairing.accept()
        for contrary_call in (pairing.reject, pairing.cancel):
            with pytest.raises(ControlError) as refused:
                await contrary_call()
            assert refused.value.code == "already_decided"
        assert node.steps == []


async def test_reject_goes_to_the_session_only(node, client, nursery, code, proven_device):
    """A rejection never mentions the vault."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        await node.show_session(pairing.id, "deciding", confirmation=proven_device)
        await pairing.confirmation()
        async with trio.open_nursery() as inner:
            inner.start_soon(pairing.reject)
            (decide,) = await node.next_step("Decide")
            assert to_session.decode(decide.body) == to_session.Decide(False)
            await node.show_session(
                pairing.id, "deciding", confirmation=proven_device, accepted=False, outcome="rejected"
            )
        with pytest.raises(PairingFailedError) as failed:
            await pairing.paired()
        assert failed.value.outcome == "rejected"


async def test_cancel(node, client, nursery, code):
    """Cancelling is done when the session has ended by it, and again after that."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        async with trio.open_nursery() as inner:
            inner.start_soon(pairing.cancel)
            await node.next_step("CancelPairing")
            await node.show_session(pairing.id, outcome="cancelled", message="cancelled here")
        await pairing.cancel()
        with pytest.raises(PairingFailedError, match="cancelled here"):
            await pairing.paired()


async def test_cancel_at_the_question(node, client, nursery, code, proven_device):
    """With a device on the screen a cancellation is a refusal, never an acceptance; it is done at once."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        await node.show_session(pairing.id, stage="deciding", confirmation=proven_device)
        await pairing.confirmation()
        async with trio.open_nursery() as inner:
            inner.start_soon(pairing.cancel)
            await node.next_step("CancelPairing")
            await node.show_session(pairing.id, stage="deciding", confirmation=proven_device, accepted=False)
        await node.show_session(pairing.id, stage="deciding", confirmation=proven_device, outcome="cancelled")
        await pairing.cancel()


async def test_the_same_code_is_not_entered_twice_at_once(node, client, nursery, code):
    """A second join would take the first one's frames; it is refused until the first has ended."""
    words = " ".join(words_of(code))
    with trio.fail_after(60):
        answers: list[object] = []

        async def join() -> None:
            answers.append(await client.join_pairing(words))

        async with trio.open_nursery() as inner:
            inner.start_soon(join)
            first = to_session.decode((await node.next_step("JoinPairing"))[0].body)
            await node.show_session(first.session, role="joiner", stage="searching")
        with pytest.raises(ControlError, match="already"):
            await client.join_pairing(words)
        await node.show_session(first.session, role="joiner", stage="searching", outcome="not_found")
        async with trio.open_nursery() as inner:
            inner.start_soon(join)
            again = to_session.decode((await node.next_step("JoinPairing"))[0].body)
            await node.show_session(again.session, role="joiner", stage="searching")
        assert first.session != again.session


async def test_a_code_whose_pairing_did_not_begin_can_be_entered_again(node, client, code):
    """The node was full, and is not any more: nobody enters these words."""
    words = " ".join(words_of(code))
    with trio.fail_after(15):
        async with trio.open_nursery() as inner:

            async def refuse() -> None:
                (sent,) = await node.next_step("JoinPairing")
                await node.deliver("supervisor", Undeliverable(sent.to, sent.kind, sent.id, True))

            inner.start_soon(refuse)
            with pytest.raises(ControlError, match="try again later"):
                await client.join_pairing(words)
        async with trio.open_nursery() as inner:
            inner.start_soon(client.join_pairing, words)
            again = to_session.decode((await node.next_step("JoinPairing"))[0].body)
            await node.show_session(again.session, role="joiner", stage="searching")


async def test_a_pairing_that_begins_late_is_not_begun_twice(node, client, code, monkeypatch):
    """Its request had no answer in time, as when the supervisor hangs: it may run all the same."""
    monkeypatch.setattr(actor_requests, "REQUEST_TIMEOUT_SECONDS", 0.1)
    words = " ".join(words_of(code))
    with trio.fail_after(15):
        with pytest.raises(ControlError, match="in time"):
            await client.join_pairing(words)
        late = to_session.decode((await node.next_step("JoinPairing"))[0].body)
        await node.show_session(late.session, role="joiner", stage="searching")
        while not await client.sessions():
            pass
        with pytest.raises(ControlError, match=late.session):
            await client.join_pairing(words)


def test_what_is_kept_of_pairings_that_did_not_begin_is_bounded():
    store = SessionStore()
    for number in range(2 * MAX_ENDED_SESSIONS):
        assert store.claim_entered_code(number.to_bytes(16), f"{number:016x}") is None
        store.end_beginning(f"{number:016x}")
    assert len(store._entered_codes) == MAX_ENDED_SESSIONS


async def test_a_code_whose_client_went_before_the_pairing_began_can_be_entered_again(starting_node, code):
    """As with Ctrl-C while the node waits for its vault."""
    words = " ".join(words_of(code))
    with trio.fail_after(15):
        async with await trio.open_unix_socket(starting_node.control) as stream:
            raw = RawClient(stream)
            await raw.send(JoinPairing(1, os.urandom(16), words))
            await raw.send(Subscribe(2))
            assert isinstance(await raw.receive(), Done)  # so the first was read, too
        await starting_node.deliver_readiness()
        async with open_client(starting_node.control) as client, trio.open_nursery() as inner:

            async def join() -> None:
                while True:  # until the gateway has noticed that the first has gone
                    try:
                        await client.join_pairing(words)
                    except ControlError:
                        continue
                    return

            inner.start_soon(join)
            joined = to_session.decode((await starting_node.next_step("JoinPairing"))[0].body)
            await starting_node.show_session(joined.session, role="joiner", stage="searching")


async def test_a_crashed_session_ends_with_an_outcome(node, client, nursery, code):
    """SessionEnded without a last view becomes the outcome, with words for people."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        await node.deliver("supervisor", SessionEnded(pairing.id, "initiator", "crashed"))
        with pytest.raises(PairingFailedError, match="inside the node") as failed:
            await pairing.paired()
        assert failed.value.outcome == "crashed"
        again = await client.session(pairing.id)
        assert again.state.outcome == "crashed"


async def test_states_never_go_back(node, client, nursery, code):
    """A view with an earlier stage, and one that comes after the outcome, are not shown."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        for stage in ("connecting", "proving", "connecting", "deciding"):
            await node.show_session(pairing.id, stage)
        await node.show_session(pairing.id, "deciding", outcome="expired")
        await node.show_session(pairing.id, "storing", outcome="paired")
        order = ["waiting", "connecting", "proving", "deciding", "storing"]
        ranks = [(order.index(state.stage), state.outcome) async for state in pairing.states()]
        assert [rank for rank, _ in ranks] == sorted(rank for rank, _ in ranks)
        assert ranks[-1] == (3, "expired")
        assert (await client.session(pairing.id)).state.outcome == "expired"


async def test_a_session_speaks_for_itself_only(node, client, nursery, code):
    """A view sent by another session is ignored."""
    with trio.fail_after(60):
        pairing = await begin(node, client, nursery, code)
        forged = await node.show_session("ab" * 8, "waiting")
        await node.deliver(
            "session-" + "ab" * 8,
            type(forged)(pairing.id, "initiator", "storing", 1.0, outcome="paired"),
        )
        await node.show_session(pairing.id, "connecting")
        async for state in pairing.states():
            assert state.outcome is None
            if state.stage == "connecting":
                break


async def test_joining(node, client, code):
    """The words are parsed by the gateway: entropy and time-out reach the session; typos are bad_code."""
    with trio.fail_after(60):
        with pytest.raises(ControlError) as wrong:
            await client.join_pairing("abandon " * 11 + "abandom")
        assert wrong.value.code == "bad_code"
        async with trio.open_nursery() as inner:
            inner.start_soon(client.join_pairing, " ".join(words_of(code)), 7)
            (sent,) = await node.next_step("JoinPairing")
            join = to_session.decode(sent.body)
            assert (join.code, join.timeout) == (code, 7)
            await node.show_session(join.session, "searching", role="joiner")


async def test_the_code_of_this_very_node(node, client, nursery, code):
    """Entering a code on the device that shows it is refused at once, with the reason."""
    with trio.fail_after(60):
        await begin(node, client, nursery, code)
        with pytest.raises(ControlError, match="other one") as wrong:
            await client.join_pairing(" ".join(words_of(code)))
        assert wrong.value.code == "bad_code"


@pytest.mark.parametrize(("busy", "expected"), [(True, "busy"), (False, "stopping")])
async def test_no_room_for_a_session(node, client, busy, expected):
    """What the supervisor cannot deliver is answered at once, with its meaning."""
    with trio.fail_after(60):
        async with trio.open_nursery() as inner:

            async def refuse() -> None:
                (sent,) = await node.next_step("StartPairing")
                await node.deliver("supervisor", Undeliverable(sent.to, sent.kind, sent.id, busy))

            inner.start_soon(refuse)
            with pytest.raises(ControlError) as refused:
                await client.start_pairing()
            assert refused.value.code == expected


async def test_a_repeated_start_reaches_the_same_session(node, client):
    """The same key gets the same session, before and after it has shown itself, and only one is made."""
    key = os.urandom(16)
    answers = []

    async def ask() -> None:
        answers.append(await client._connection.call(SessionStarted, lambda id: StartPairing(id, key)))

    with trio.fail_after(60):
        async with trio.open_nursery() as inner:
            inner.start_soon(ask)
            inner.start_soon(ask)
            (first,) = await node.next_step("StartPairing")
            (second,) = await node.next_step("StartPairing")
            assert first.to == second.to
            await node.show_session(to_session.decode(first.body).session)
        await ask()
        assert node.steps == []
        assert len({answer.session for answer in answers}) == 1


async def test_not_ready_names_what_is_missing(starting_node, monkeypatch):
    """Before vault and swarm are there a pairing is refused, and says which is missing."""
    from spacedrive_node.actors.gateway import handlers
    from spacedrive_node.client.node_client import open_client

    monkeypatch.setattr(handlers, "READY_TIMEOUT_SECONDS", 0.05)
    with trio.fail_after(60):
        async with open_client(starting_node.control) as client:
            starting_node.standing.clear()
            await starting_node.deliver_standing("vault", requests_readiness("vault", True))
            await starting_node.deliver_standing(
                "swarm", requests_readiness("swarm", False, "no port is free")
            )
            with pytest.raises(ControlError, match=r"swarm \(no port is free\)") as refused:
                await client.start_pairing()
            assert refused.value.code == "not_ready"


async def test_a_vault_that_cannot_write_is_asked_all_the_same(starting_node, monkeypatch):
    """Its disk is full, say: it can be read, and what it refuses it refuses with its own reason, at once."""
    from spacedrive_node.actors.gateway import handlers
    from spacedrive_node.client.node_client import open_client
    from spacedrive_node.messages import to_vault
    from spacedrive_node.messages.to_gateway import Devices, VaultError

    monkeypatch.setattr(handlers, "READY_TIMEOUT_SECONDS", 2 * DEADLINE)
    with trio.fail_after(DEADLINE):  # less than the node waits for a part that is not there
        async with open_client(starting_node.control) as client, trio.open_nursery() as inner:
            await starting_node.deliver_standing("vault", requests_readiness("vault", False, "disk full"))
            answers = []

            async def ask(request) -> None:
                try:
                    answers.append(await request())
                except ControlError as error:
                    answers.append((error.code, error.message))

            inner.start_soon(ask, client.devices)
            (sent,) = await starting_node.next_step("ListDevices")
            request = to_vault.decode(sent.body).request
            await starting_node.deliver("vault", Devices(request, (), False))
            inner.start_soon(ask, client.devices)
            (sent,) = await starting_node.next_step("ListDevices")
            request = to_vault.decode(sent.body).request
            await starting_node.deliver("vault", VaultError(request, "not_stored", "it cannot be read"))
            inner.start_soon(ask, lambda: client.forget(bytes(16)))
            (sent,) = await starting_node.next_step("ForgetDevice")
            request = to_vault.decode(sent.body).request
            await starting_node.deliver("vault", VaultError(request, "not_stored", "make room"))
    assert answers == [[], ("not_ready", "it cannot be read"), ("not_ready", "make room")]


async def test_a_vault_that_does_not_come_back_is_a_refusal_with_its_reason(starting_node, monkeypatch):
    """For the list and for what changes it, not an internal error."""
    from spacedrive_node.actors.gateway import actor_requests, handlers
    from spacedrive_node.client.node_client import open_client
    from spacedrive_node.messages.from_supervisor import ActorDown, ActorRestarted

    monkeypatch.setattr(handlers, "READY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(actor_requests, "REQUEST_TIMEOUT_SECONDS", 0.05)
    with trio.fail_after(60):
        async with open_client(starting_node.control) as client:
            await starting_node.deliver_standing("vault", requests_readiness("vault", True))
            for said, message in (
                (r"did not answer", None),
                (r"vault \(restarting\)", ActorDown("vault", keeps_state=True)),
                (r"did not answer", ActorRestarted("vault")),
            ):
                if message is not None:
                    await starting_node.deliver("supervisor", message)
                for request in (client.devices, lambda: client.rename(bytes(16), "Anna")):
                    with pytest.raises(ControlError, match=said) as refused:
                        await request()
                    assert refused.value.code == "not_ready"


def requests_readiness(part: str, ready: bool, detail: str = ""):
    from spacedrive_node.messages.to_gateway import Readiness

    return Readiness(part, ready, detail)
