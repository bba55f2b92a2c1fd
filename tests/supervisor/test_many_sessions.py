"""A node with hundreds of sessions: they start, come back after the loss of the fork server, and stop."""

import os
import resource
import signal
import time

import pytest
import trio

from spacedrive_node.messages import to_gateway, to_session
from spacedrive_node.tests.harness.nodes import InterceptingSpawner, running_node
from spacedrive_node.tests.harness.tiny_node import OWN_IDENTITY, node, session_name

PATIENCE_S = 120
"""On a machine that does other things as well."""
BACK_S = 10.0
"""Within which a thousand sessions are back: of the supervisor's own time, which no other program takes."""
STOPPED_S = 4.0
"""Within which a node stops, of the same time."""
DESCRIPTORS = 8192


@pytest.fixture(autouse=True)
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def wait_for_views(gateway, number, **fields):
    seen = set()
    while len(seen) < number:
        seen.add((await gateway.view(**fields)).session)


async def open_sessions(gateway, number):
    """Start all of them without waiting for any."""
    for each in range(1, number + 1):
        start = to_session.StartPairing(f"{each:016x}", 60.0, *OWN_IDENTITY)
        await gateway.send(start, to=session_name(each))
    await wait_for_views(gateway, number)


@pytest.mark.parametrize("number", [400, 1000])
async def test_all_sessions_come_back_when_the_fork_server_is_killed(number):
    """With their checkpoints, in any number that a node may have; and the node stops in time with them."""
    with trio.fail_after(PATIENCE_S):
        async with node(max_sessions=number) as gateway:
            await open_sessions(gateway, number)
            zygote = await gateway.pid("zygote")
            before = time.process_time()
            os.kill(zygote, signal.SIGKILL)
            await gateway.next(to_gateway.SessionLimit)
            for each in range(1, number + 1):
                await gateway.send(to_session.Decide(True), to=session_name(each))
            await wait_for_views(gateway, number, message="signed 1")
            assert time.process_time() - before < BACK_S
            before = time.process_time()
        assert time.process_time() - before < STOPPED_S
    assert gateway.failure is None
    assert {line[2] for line in gateway.unusual} == {"fork server lost", "restarting"}
    causes = {line[3]["cause"] for line in gateway.logs if line[2] == "restarting"}
    assert causes == {"zygote"}


@pytest.mark.slow
async def test_codes_still_pair_after_the_loss_of_the_fork_server(tmp_path):
    """Real sessions, more than the fork server's socket holds requests for; all of them are there again."""
    number, spawner = 500, InterceptingSpawner()
    settings = {"max_sessions": number + 8}
    with trio.fail_after(4 * PATIENCE_S):
        async with (
            running_node(tmp_path, "anna", spawner=spawner, **settings) as anna,
            running_node(tmp_path, "bruno", bootstrap=(anna.bootstrap,)) as bruno,
        ):
            showing = [await anna.client.start_pairing() for _ in range(number)]
            os.kill(spawner.pid, signal.SIGKILL)
            await spawner.wait_until_delivered("session", "ActorRestarted", number, seconds=2 * PATIENCE_S)
            chosen = showing[number // 2]
            joining = await bruno.client.join_pairing(" ".join(chosen.code.words), timeout=60)
            for side in (chosen, joining):
                await side.confirmation()
            for side in (chosen, joining):
                await side.accept()
            for side in (chosen, joining):
                await side.paired()
            assert not [line for line in anna.logs if line[2] == "given up"]
            assert {line[3]["cause"] for line in anna.logs if line[2] == "restarting"} == {"zygote"}
