"""The gateway dies, is started again and is told what stands: clients carry on as if nothing had been."""

import socket
from itertools import combinations

import pytest
import trio
import trio.testing

from spacedrive_node.client import errors
from spacedrive_node.client.node_client import NodeGoneError, NoNodeRunningError, open_client
from spacedrive_node.messages import to_session, to_vault
from spacedrive_node.messages.from_supervisor import SessionEnded
from spacedrive_node.messages.to_gateway import DeviceChanged
from spacedrive_node.messages.types import STAGE_ORDER, later_stage


async def start(node, client, code):
    """Start a pairing, playing its session."""
    box = []

    async def ask() -> None:
        box.append(await client.start_pairing())

    async with trio.open_nursery() as inner:
        inner.start_soon(ask)
        (sent,) = await node.next_step("StartPairing")
        await node.show_session(to_session.decode(sent.body).session, code=code)
    return box[0]


async def test_states_go_on_across_a_restart(node, client, nursery, code, proven_device):
    """The iterator goes on after the restart: nothing back, nothing twice, and the outcome arrives."""
    seen = []
    with trio.fail_after(20):
        pairing = await start(node, client, code)
        deciding, over = trio.Event(), trio.Event()

        async def follow() -> None:
            async for state in pairing.states():
                seen.append((state.stage, state.outcome))
                if state.stage == "deciding":
                    deciding.set()
            over.set()

        nursery.start_soon(follow)
        await node.show_session(pairing.id, "connecting")
        await node.kill()
        # What the session says while there is no gateway is kept by the supervisor.
        await node.show_session(pairing.id, "deciding", confirmation=proven_device)
        await node.run_gateway(nursery)
        await deciding.wait()
        await node.kill()
        await node.run_gateway(nursery)
        await node.show_session(
            pairing.id, "storing", confirmation=proven_device, accepted=True, outcome="paired"
        )
        await over.wait()
    assert len(seen) == len(set(seen))
    assert [stage for stage, _ in seen if stage != "connecting"] == ["waiting", "deciding", "storing"]
    assert seen[-1] == ("storing", "paired")


async def test_a_crash_that_a_restarted_gateway_only_hears_of(node, client, nursery, code, proven_device):
    """Only SessionEnded is left of a session that was ended in the middle; its client hears the outcome."""
    seen = []
    with trio.fail_after(20):
        pairing = await start(node, client, code)
        deciding, over = trio.Event(), trio.Event()

        async def follow() -> None:
            async for state in pairing.states():
                seen.append((state.stage, state.outcome))
                if state.stage == "deciding":
                    deciding.set()
            over.set()

        nursery.start_soon(follow)
        await node.show_session(pairing.id, "deciding", confirmation=proven_device)
        await deciding.wait()
        await node.kill()
        node.standing = {key: value for key, value in node.standing.items() if "session-" not in key[0]}
        node.standing["supervisor", "SessionEnded"] = SessionEnded(pairing.id, "initiator", "crashed")
        await node.run_gateway(nursery)
        await over.wait()
    assert seen[-1] == ("deciding", "crashed")


async def test_a_start_cut_off_by_a_restart_makes_one_session(node, client, nursery, code):
    """A request without an answer is repeated with its key: the same session is asked for again."""
    with trio.fail_after(20):
        box = []

        async def ask() -> None:
            box.append(await client.start_pairing())

        async with trio.open_nursery() as inner:
            inner.start_soon(ask)
            (first,) = await node.next_step("StartPairing")
            await node.kill()
            await node.run_gateway(nursery)
            (again,) = await node.next_step("StartPairing")
            assert again.to == first.to
            await node.show_session(to_session.decode(again.body).session, code=code)
        assert first.to == f"session-{box[0].id}"


async def test_a_decision_cut_off_by_a_restart(node, client, nursery, code, proven_device):
    """Accept is sent again to vault and session, which know it; the client gets its one answer."""
    with trio.fail_after(20):
        pairing = await start(node, client, code)
        await node.show_session(pairing.id, "deciding", confirmation=proven_device)
        await pairing.confirmation()
        async with trio.open_nursery() as inner:
            inner.start_soon(pairing.accept)
            await node.next_step("Accept", "Decide")
            await node.kill()
            await node.run_gateway(nursery)
            await node.next_step("Accept", "Decide")
            await node.show_session(pairing.id, "deciding", confirmation=proven_device, accepted=True)


async def test_a_change_carries_the_clients_key_to_the_vault(node, client, nursery):
    """Envelope id and request number are the same after a restart: the vault's recorded answer fits."""
    with trio.fail_after(20):
        async with trio.open_nursery() as inner:
            inner.start_soon(client.rename, b"d" * 16, "attic")
            (first,) = await node.next_step("RenameDevice")
            await node.kill()
            await node.run_gateway(nursery)
            (again,) = await node.next_step("RenameDevice")
            assert (first.id, bytes(first.body)) == (again.id, bytes(again.body))
            await node.deliver("vault", DeviceChanged(to_vault.decode(first.body).request))


async def test_a_restarted_gateway_waits_for_what_stands(starting_node, nursery, code):
    """Nobody is answered before the standing messages are in: a session must not seem unknown."""
    with trio.fail_after(20):
        await starting_node.deliver_readiness()
        await starting_node.kill()
        starting_node.answer_barrier = False
        await starting_node.run_gateway(nursery)
        answered = trio.Event()

        async def ask() -> None:
            async with open_client(starting_node.control) as client:
                await client.session("ab" * 8)
            answered.set()

        nursery.start_soon(ask)
        (barrier,) = await starting_node.next_step("ListActors")
        await starting_node.show_session("ab" * 8)
        assert not answered.is_set()
        await starting_node.answer(barrier)
        await answered.wait()


async def test_nothing_there(tmp_path):
    """No socket file, and a socket file nobody listens on, both say how to start a node."""
    with pytest.raises(NoNodeRunningError, match="sdnode up"):
        async with open_client(tmp_path / "none.sock"):
            pass


async def test_gone_for_good(node, client, nursery, code, monkeypatch):
    """After the patience without a node whatever waits fails with NodeGoneError, and so do new requests."""
    monkeypatch.setattr(errors, "RECONNECT_TIMEOUT_S", 0.2)
    with trio.fail_after(20):
        pairing = await start(node, client, code)
        node.listener.close()
        await node.kill()
        with pytest.raises(NodeGoneError):
            await pairing.paired()
        with pytest.raises(NodeGoneError):
            await client.status()


async def test_a_node_that_forgot_the_session(node, client, nursery, code):
    """Another node on the same socket does not know the session: NodeGoneError, not a wait for ever."""
    with trio.fail_after(20):
        pairing = await start(node, client, code)
        await node.kill()
        node.standing = {key: value for key, value in node.standing.items() if "session-" not in key[0]}
        await node.run_gateway(nursery)
        with pytest.raises(NodeGoneError, match="no longer knows"):
            await pairing.paired()


async def test_a_session_asked_of_a_node_that_hangs(short_folder, monkeypatch):
    """It is there and says nothing, as when it is frozen: that has an end, and nothing of it stays."""
    monkeypatch.setattr(errors, "REPLY_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_folder / "c.sock"))
        listener.listen()
        with trio.fail_after(15):
            async with open_client(short_folder / "c.sock") as client:
                with pytest.raises(NodeGoneError, match="has not answered for"):
                    await client.session("0" * 16)
                assert not client._connection._subscriptions


async def test_shutdown_is_done_when_the_node_is_gone(node, client, nursery):
    """A node that went before its answer arrived has done what was asked."""
    with trio.fail_after(20):
        async with trio.open_nursery() as inner:
            inner.start_soon(client.shutdown)
            await node.next_step("Shutdown")
            node.listener.close()
            await node.kill()


async def test_the_callers_exception_is_not_wrapped(node):
    """What the block raises arrives as it is."""
    with pytest.raises(KeyError):
        async with open_client(node.control):
            raise KeyError("x")


def test_stage_order_is_that_of_the_messages() -> None:
    """The order that users rely on is that of the type, and the only one."""
    assert STAGE_ORDER == ("waiting", "searching", "connecting", "proving", "deciding", "storing")
    for earlier, later in combinations(STAGE_ORDER, 2):
        assert later_stage(earlier, later) == later_stage(later, earlier) == later


async def test_all_sessions_are_followed_across_a_restart(node, client, nursery, code, proven_device):
    """Nothing is repeated, what changed meanwhile comes, and a later iterator begins with what is there."""
    seen = []
    with trio.fail_after(20):
        first, second = [(await start(node, client, code)).id, (await start(node, client, code)).id]
        states = client.all_states()
        for _ in range(2):
            seen.append(await anext(states))
        await node.kill()
        await node.show_session(second, "deciding", confirmation=proven_device)
        await node.run_gateway(nursery)
        seen.append(await anext(states))
        await node.show_session(first, "waiting", outcome="cancelled")
        seen.append(await anext(states))
        present = client.all_states()
        again = [await anext(present) for _ in range(2)]
    assert [state.session for state in seen] == [first, second, second, first]
    assert [state.stage for state in seen] == ["waiting", "waiting", "deciding", "waiting"]
    assert [state.session for state in again] == [second, first]
    assert again == seen[2:]


async def test_two_tasks_at_one_iterator_get_no_state_twice(node, client, nursery):
    """Each state goes to one of them, as sync.py has threads do it."""
    states, seen = client.all_states(), []
    arrived = trio.lowlevel.ParkingLot()

    async def follow() -> None:
        while True:
            seen.append((await anext(states)).session)
            arrived.unpark_all()

    sessions = [f"{number:016x}" for number in range(5)]
    with trio.fail_after(20):
        for _ in range(2):
            nursery.start_soon(follow)
        for session in sessions:
            await trio.testing.wait_all_tasks_blocked()
            await node.show_session(session)
            while session not in seen:
                await arrived.park()
        await trio.testing.wait_all_tasks_blocked()
    assert seen == sessions


async def test_a_closed_client_lets_nobody_wait(node, code):
    """What other tasks still wait for fails at once when the block ends, and so does a later call."""
    failures = []
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, open_client(node.control) as client:
            states = client.all_states()

            async def follow() -> None:
                try:
                    await anext(states)
                except NodeGoneError as error:
                    failures.append(error)

            nursery.start_soon(follow)
            await client.status()
        assert len(failures) == 1
        for call in (client.status, client.shutdown):
            with pytest.raises(NodeGoneError, match="closed"):
                await call()
