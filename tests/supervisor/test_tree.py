"""The supervisor with real processes: start, step, restart, stop."""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import trio

from spacedrive_node.messages import to_gateway, to_session
from spacedrive_node.supervisor.child_specs import Sandbox
from spacedrive_node.tests.harness.tiny_actors import TinyConfig
from spacedrive_node.tests.harness.tiny_node import OWN_IDENTITY, node, session_name, spec

ACCEPT = to_session.Decide(True)


@pytest.mark.parametrize("host", ["process", "task"])
async def test_messages_are_routed(host):
    """A message starts a session, which sends to the vault; its reply shows in a view at the gateway."""
    async with node(host) as gateway:
        limit = await gateway.next(to_gateway.SessionLimit)
        assert limit.limit == 4
        await gateway.open_session()
        await gateway.send(ACCEPT)
        view = await gateway.view(message="signed 1")
        assert view.started == 1.0
        assert set(await gateway.actors()) >= {"supervisor", "vault", "swarm", "gateway", session_name()}


async def test_kill_session():
    """SIGKILL of a session between two inputs loses nothing."""
    async with node() as gateway:
        await gateway.open_session()
        for round_ in range(1, 6):
            await gateway.send(ACCEPT)
            await gateway.view(message=f"signed {round_}")
            os.kill(await gateway.pid(session_name()), signal.SIGKILL)
        await gateway.send(ACCEPT)
        view = await gateway.view(message="signed 6")
        assert view.started == 6.0


@pytest.mark.parametrize("victim", ["session", "vault", "swarm"])
async def test_kill_at_any_moment(victim):
    """Killed while inputs are under way: each input takes effect exactly once, in order."""
    name = session_name() if victim == "session" else victim
    rounds = 12
    async with node() as gateway:
        await gateway.open_session()
        for _ in range(rounds):
            pid = await gateway.pid(name)
            await gateway.send(ACCEPT)
            if pid:
                with suppress(ProcessLookupError):  # it died in the round before
                    os.kill(pid, signal.SIGKILL)
        view = await gateway.view(message=f"signed {rounds}")
        assert view.started == rounds
        counts = [
            message.started for _, message in gateway.seen if isinstance(message, to_gateway.SessionView)
        ]
        assert counts == sorted(counts)


async def test_kill_gateway():
    """A restarted gateway first gets the standing messages: the limit, and all sessions, ended ones too."""
    async with node() as gateway:
        await gateway.open_session(1)
        await gateway.open_session(2)
        await gateway.send(to_session.CancelPairing(), to=session_name(2))
        await gateway.next(to_gateway.SessionEnded)
        os.kill(await gateway.pid("gateway"), signal.SIGKILL)
        with trio.fail_after(60):
            while (await gateway.next()) is not None:
                pass
        told = [await gateway.next() for _ in range(4)]
        assert isinstance(told[0], to_gateway.SessionLimit)
        assert isinstance(told[1], to_gateway.SessionView)
        assert told[1].session == f"{1:016x}"
        assert isinstance(told[2], to_gateway.SessionView)
        assert told[2].outcome == "cancelled"
        assert isinstance(told[3], to_gateway.SessionEnded)


async def test_ended_session_is_not_made_again():
    """A message for a session that has ended is dropped and does not start it again."""
    async with node() as gateway:
        await gateway.open_session()
        await gateway.send(to_session.CancelPairing())
        ended = await gateway.next(to_gateway.SessionEnded)
        assert ended.outcome == "cancelled"
        await gateway.send(to_session.StartPairing(f"{1:016x}", 60.0, *OWN_IDENTITY))
        await gateway.open_session(2)
        views = [message for _, message in gateway.seen if isinstance(message, to_gateway.SessionView)]
        assert [(view.session[-1], view.outcome) for view in views] == [
            ("1", None),
            ("1", "cancelled"),
            ("2", None),
        ]


async def test_sessions_full():
    """One session more than allowed is refused to the gateway, as busy."""
    async with node(max_sessions=1) as gateway:
        await gateway.open_session(1)
        await gateway.send(
            to_session.StartPairing(f"{2:016x}", 60.0, *OWN_IDENTITY), to=session_name(2), id=b"k" * 16
        )
        refusal = await gateway.next(to_gateway.Undeliverable)
        assert refusal.busy
        assert refusal.id == b"k" * 16


@pytest.mark.parametrize("how", [1, 2, 4])
async def test_poison(how):
    """An input that crashes its session three times ends that session; secrets stay out of logs."""
    async with node() as gateway:
        await gateway.open_session(1)
        await gateway.open_session(2)
        await gateway.send(to_session.JoinPairing(f"{1:016x}", bytes(16), *OWN_IDENTITY, timeout=float(how)))
        ended = await gateway.next(to_gateway.SessionEnded)
        assert (ended.session, ended.outcome) == (f"{1:016x}", "crashed")
        restarts = [line for line in gateway.logs if line[2] == "restarting"]
        assert len(restarts) == 3
        await gateway.send(ACCEPT, to=session_name(2))
        await gateway.view(session=f"{2:016x}", message="signed 1")
        assert "do-not-print-this" not in repr(gateway.logs)
        if how == 1:
            crash = next(line for line in gateway.logs if line[2] == "actor crashed")
            assert crash[3]["error"] == "ValueError"
            assert "tiny_actors.py:" in crash[3]["where"]


async def test_hang():
    """A session that hangs is killed, and given up when the same input hangs it three times."""
    async with node(heartbeat=0.5) as gateway:
        await gateway.open_session()
        await gateway.send(to_session.JoinPairing(f"{1:016x}", bytes(16), *OWN_IDENTITY, timeout=3.0))
        ended = await gateway.next(to_gateway.SessionEnded)
        assert ended.outcome == "crashed"
        assert [line[3]["cause"] for line in gateway.logs if line[2] == "restarting"] == ["hang"] * 3


async def test_stopped_child_stops_nobody(monkeypatch):
    """A flood to a child that does not read blocks nobody else, and nothing of it is lost."""
    monkeypatch.setattr("spacedrive_node.supervisor.ledger.MAX_SESSION_MESSAGES", 10_000)
    async with node(heartbeat=5.0) as gateway:
        await gateway.open_session(1)
        await gateway.open_session(2)
        pid = await gateway.pid(session_name(1))
        os.kill(pid, signal.SIGSTOP)
        for _ in range(1000):
            await gateway.send(ACCEPT, to=session_name(1))
        await gateway.send(ACCEPT, to=session_name(2))
        await gateway.view(session=f"{2:016x}", message="signed 1")
        os.kill(pid, signal.SIGCONT)
        await gateway.view(session=f"{1:016x}", message="signed 1000")


async def test_full_mailbox_refuses_the_gateway(monkeypatch):
    """What the gateway sends to a full inbox comes back as Undeliverable, busy."""
    monkeypatch.setattr("spacedrive_node.supervisor.ledger.MAX_SESSION_MESSAGES", 10_000)
    async with node(heartbeat=5.0) as gateway:
        await gateway.open_session(1)
        pid = await gateway.pid(session_name(1))
        os.kill(pid, signal.SIGSTOP)
        for _ in range(45):
            await gateway.send(*[ACCEPT] * 50, to=session_name(1))
        refusal = await gateway.next(to_gateway.Undeliverable)
        assert refusal.busy
        os.kill(pid, signal.SIGCONT)
        await gateway.view(message="signed 2048")


async def test_fork_server_killed():
    """All actors die with the fork server; all of them continue from their checkpoints."""
    async with node() as gateway:
        await gateway.open_session()
        await gateway.send(ACCEPT)
        await gateway.view(message="signed 1")
        before = await gateway.actors()
        os.kill(before["zygote"].pid, signal.SIGKILL)
        await gateway.next(to_gateway.SessionLimit)
        await gateway.send(ACCEPT)
        view = await gateway.view(message="signed 2")
        assert view.started == 2.0
        after = await gateway.actors()
        assert not {row.pid for row in before.values()} - {os.getpid()} & {row.pid for row in after.values()}
        assert [rows["zygote"].restarts for rows in (before, after)] == [0, 1]
        assert [rows["supervisor"].restarts for rows in (before, after)] == [0, 0]
        assert after["zygote"].uptime_seconds < after["supervisor"].uptime_seconds


async def test_a_death_is_noticed_while_the_fork_server_stands_still():
    """The pidfd reports it; the restart waits for the fork server, and the others go on meanwhile."""
    async with node() as gateway:
        await gateway.open_session()
        zygote = await gateway.pid("zygote")
        os.kill(zygote, signal.SIGSTOP)
        try:
            os.kill(await gateway.pid(session_name()), signal.SIGKILL)
            with trio.fail_after(20):
                while not [line for line in gateway.logs if line[2] == "restarting"]:
                    await gateway.actors()
        finally:
            os.kill(zygote, signal.SIGCONT)
        (line,) = [line for line in gateway.logs if line[2] == "restarting"]
        assert line[3]["cause"] == "killed"
        await gateway.send(ACCEPT)
        await gateway.view(message="signed 1")


async def test_forbidden_message_kills_its_sender():
    """A step with a message that its sender may not send has no effect, and its sender is killed."""
    async with node(session="forger") as gateway:
        await gateway.open_session()
        await gateway.send(ACCEPT)
        ended = await gateway.next(to_gateway.SessionEnded)
        assert ended.outcome == "crashed"
        views = [message for _, message in gateway.seen if isinstance(message, to_gateway.SessionView)]
        assert all(view.started == 0.0 for view in views)
        reasons = {line[3].get("why") for line in gateway.logs if line[2] == "forbidden step"}
        assert reasons == {"it may not send SwarmIdentity to swarm"}


async def test_sandbox():
    """A sandboxed session gets randomness; files, sockets, processes and threads are out of reach."""
    async with node(session="prober", sandbox=Sandbox()) as gateway:
        await gateway.send(to_session.StartPairing(f"{1:016x}", 60.0, *OWN_IDENTITY))
        view = await gateway.view()
        assert view.message == "random"
        (applied,) = [line[3] for line in gateway.logs if line[2] == "sandbox"]
        assert {applied[step] for step in ("rlimits", "no_new_privs", "capabilities", "seccomp")} == {"ok"}


async def test_order(tmp_path):
    """Singletons start in their order and stop in the reverse one."""
    trail = tmp_path / "trail"
    kinds = ["vault", "swarm", "discovery"]
    singletons = [spec(kind, "quiet_swarm", TinyConfig(str(trail))) for kind in kinds]
    async with node(singletons=singletons):
        pass
    lines = trail.read_text().splitlines()
    starts = [line.split()[0] for line in lines if line.endswith("start")]
    stops = [line.split()[0] for line in lines if line.endswith("stop")]
    assert starts == kinds
    assert stops == kinds[::-1]


async def test_fatal():
    """The text of a FatalActorError becomes the failure of the node, and nothing is restarted."""
    async with node(singletons=[spec("swarm", "quiet_swarm", TinyConfig(fail="fatal"))]) as gateway:
        with trio.fail_after(20):
            await gateway.over.wait()
    assert str(gateway.failure) == "port 1 is not yours"
    assert gateway.failure.is_temporary


async def test_stubborn_child_is_killed_at_stop():
    """A child that ignores Stop delays the end of the node by its grace, not more."""
    async with node(heartbeat=60.0, stop_grace=0.1) as gateway:
        await gateway.open_session()
        os.kill(await gateway.pid(session_name()), signal.SIGSTOP)


def test_supervisor_killed():
    """Nothing survives the supervisor's SIGKILL."""
    program = (
        "import trio\n"
        "from spacedrive_node.tests.harness.tiny_node import node\n"
        "async def main():\n"
        "    async with node() as gateway:\n"
        "        await gateway.open_session()\n"
        "        print(*[row.pid for row in (await gateway.actors()).values()], flush=True)\n"
        "        await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        assert len(pids) == 6
        pidfds = [os.pidfd_open(pid) for pid in pids]
        supervisor.kill()
        for pidfd in pidfds:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            assert poll.poll(5000), "a process outlived the supervisor"
            os.close(pidfd)


async def test_body_of_another_kind():
    """A body that is not of the kind that its envelope names is dropped, and its receiver goes on."""
    async with node() as gateway:
        await gateway.open_session()
        await gateway.send(to_session.CancelPairing(), kind="Decide")
        await gateway.send(ACCEPT)
        await gateway.view(message="signed 1")
        assert [line[3] for line in gateway.unusual] == [{"kind": "Decide", "from": "gateway"}]
