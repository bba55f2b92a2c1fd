"""open_node: a child process that is started, used and ended; here a stand-in for `sdnode up`."""

import json
import os
import signal
import subprocess
import sys

import anyio
import pytest
import trio

from spacedrive_node.client import embedded
from spacedrive_node.client.embedded import (
    NodeConfig,
    NodeEndedError,
    NodeStartError,
    node_command,
    open_node,
)
from spacedrive_node.tests.harness.loops import on_each_loop

READY = """
import json, signal, sys
print("starting", file=sys.stderr, flush=True)
print("not JSON", flush=True)
print(json.dumps({"event": "ready", "name": "n", "peer_id": "12D3", "addresses": ["/ip4/127.0.0.1/tcp/1"],
                  "control": sys.argv[1], "metrics": None}), flush=True)
"""

IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.fixture
def run(monkeypatch):
    """Have open_node start this program instead."""

    def use(program: str, *arguments: str) -> None:
        monkeypatch.setattr(
            embedded, "node_command", lambda config: [sys.executable, "-c", program, *arguments]
        )

    return use


@on_each_loop
async def test_a_node_is_used_and_then_ended(node, run, tmp_path):
    """The ready line becomes attributes, the client's methods work, and SIGTERM ends the process."""
    mark = tmp_path / "mark"
    ending = f"""
def end(*_):
    open({str(mark)!r}, "w").write("terminated")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
{READY}
signal.pause()
"""
    run("import signal, sys\n" + ending, str(node.control))
    with anyio.fail_after(30):
        async with open_node(NodeConfig()) as mine:
            assert (mine.name, mine.peer_id, mine.control) == ("n", "12D3", node.control)
            assert mine.addresses == ("/ip4/127.0.0.1/tcp/1",)
            assert (await mine.status()).name == "host"
    assert mark.read_text() == "terminated"


@on_each_loop
async def test_the_lifeline_ends_with_the_host(node, run, tmp_path, monkeypatch):
    """Standard input is a pipe that ends when the node is to end: a node that ignores signals sees that."""
    mark = tmp_path / "mark"
    program = f"""
{IGNORE}
{READY}
sys.stdin.read()
open({str(mark)!r}, 'w').close()
"""
    run(program, str(node.control))
    with anyio.fail_after(30):
        async with open_node(NodeConfig()) as mine:
            await mine.status()
    assert mark.exists()


@on_each_loop
async def test_a_node_that_hangs_is_killed(node, run, monkeypatch):
    """One that ignores everything does not keep its host."""
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.1)
    run(f"{IGNORE}\n{READY}\nsignal.pause()", str(node.control))
    with anyio.fail_after(30):
        async with open_node(NodeConfig()) as mine:
            await mine.status()


@on_each_loop
async def test_a_failed_start_says_why(run):
    """What the node wrote to standard error is the message."""
    run("import sys; print('port 7520 is taken', file=sys.stderr); sys.exit(2)")
    with anyio.fail_after(30):
        with pytest.raises(NodeStartError, match="port 7520 is taken"):
            async with open_node(NodeConfig()):
                pass


@on_each_loop
async def test_a_node_that_never_gets_ready(run, monkeypatch):
    """The start has a deadline."""
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.2)
    run("import sys; sys.stdin.read()")
    with anyio.fail_after(30):
        with pytest.raises(NodeStartError, match="not ready within"):
            async with open_node(NodeConfig()):
                pass


@on_each_loop
async def test_the_callers_exception_is_not_wrapped(node, run):
    """What the block raises arrives as it is, and the process ends all the same."""
    run(f"{READY}\nsys.stdin.read()", str(node.control))
    with anyio.fail_after(30), pytest.raises(KeyError):
        async with open_node(NodeConfig()):
            raise KeyError("x")


async def test_a_host_that_ignores_sigchld(node, run):
    """Nothing stays of its children to wait for; it is told of their end all the same."""
    run(f"{READY}\nsys.stdin.read()", str(node.control))
    former = signal.getsignal(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with trio.fail_after(30):
            async with open_node(NodeConfig()) as mine:
                await mine.status()
    finally:
        signal.signal(signal.SIGCHLD, former)


async def test_a_host_is_told_at_once_that_its_node_has_ended(node, run):
    """Exit code and last words; what waits for the node and what is called later fail with them."""
    program = f"""
import os, signal, sys
def end(*_):
    print("the disk is gone", file=sys.stderr)
    sys.stderr.write("no end")
    sys.exit(9)
signal.signal(signal.SIGUSR1, end)
{READY.replace('"12D3"', "str(os.getpid())")}
signal.pause()
"""
    run(program, str(node.control))
    changes = []
    with trio.fail_after(30):
        async with open_node(NodeConfig()) as mine:
            mine.watch_connection(changes.append)
            assert mine.end is None
            node.answer_barrier = False
            failures = []

            async def wait_for_actors() -> None:
                try:
                    await mine.actors()
                except NodeEndedError as error:
                    failures.append(error)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_actors)
                await node.next_step("ListActors")
                os.kill(int(mine.peer_id), signal.SIGUSR1)
                end = await mine.wait_ended()
            for error in (end, *failures, mine.end):
                assert (error.exit_code, error.last_lines) == (9, ("starting", "the disk is gone", "no end"))
                assert "exit code 9" in str(error)
            assert len(failures) == 1
            with pytest.raises(NodeEndedError):
                await mine.status()
            await mine.shutdown()  # that it has ended is what was wanted
    assert changes == [False]


@on_each_loop
async def test_the_end_by_the_host_is_no_event(node, run):
    """Leaving the block ends the node; nobody is told of a death."""
    run(f"{READY}\nsys.stdin.read()", str(node.control))
    changes = []
    with anyio.fail_after(30):
        async with open_node(NodeConfig()) as mine:
            mine.watch_connection(changes.append)
    assert (mine.end, changes) == (None, [])


@on_each_loop
async def test_a_host_gets_the_log(node, run, tmp_path):
    """Each line by a callback, or all of it into a descriptor."""
    program = f"{READY}\nprint('x' * 3, file=sys.stderr)\nsys.stdin.read()\nprint('over', file=sys.stderr)"
    run("import signal; signal.signal(15, signal.SIG_IGN)\n" + program, str(node.control))
    lines = []
    with anyio.fail_after(30):
        async with open_node(NodeConfig(), on_log=lines.append):
            pass
        assert lines == ["starting", "xxx", "over"]
        with (tmp_path / "log").open("wb") as log:
            async with open_node(NodeConfig(), log_fd=log.fileno()):
                pass
    assert (tmp_path / "log").read_text().splitlines() == lines
    with pytest.raises(ValueError, match="either"):
        async with open_node(NodeConfig(), on_log=lines.append, log_fd=2):
            pass


@on_each_loop
async def test_what_the_log_callback_raises_ends_the_block(node, run):
    """It is the host's own exception, so it arrives as it is; the node is ended as always."""
    run(f"{READY}\nsys.stdin.read()", str(node.control))

    def fail(line: str) -> None:
        raise KeyError(line)

    with anyio.fail_after(30), pytest.raises(KeyError, match="starting"):
        async with open_node(NodeConfig(), on_log=fail):
            await anyio.sleep_forever()


def test_the_command_is_up_with_a_lifeline(tmp_path):
    """The configuration becomes flags; nothing else is needed on the command line."""
    argv = node_command(NodeConfig(data_dir=str(tmp_path), mdns=False))
    assert argv[1:5] == ["-P", "-m", "spacedrive_node", "up"]
    assert argv[-2:] == ["--json", "--lifeline"]
    assert "--no-mdns" in argv


def test_importing_the_package_imports_nothing_heavy():
    """`import spacedrive_node` costs nothing until a name is used; every public name exists."""
    program = (
        "import sys, json, spacedrive_node; "
        "before = [m for m in ('trio', 'msgspec', 'cryptography', 'libp2p') if m in sys.modules]; "
        "[getattr(spacedrive_node, n) for n in spacedrive_node.__all__]; print(json.dumps(before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(("loop", "other"), [("trio", "asyncio"), ("asyncio", "trio")])
def test_the_client_loads_only_the_loop_that_runs(loop, other, tmp_path):
    """A command on trio does not pay for asyncio, nor a program on asyncio for trio."""
    program = f"""
import sys, anyio
from pathlib import Path
from spacedrive_node import NoNodeRunningError, open_client

async def main():
    async with open_client(Path({str(tmp_path / "none.sock")!r})):
        pass

try:
    anyio.run(main, backend={loop!r})
except NoNodeRunningError:
    print({loop!r} in sys.modules, {other!r} in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"True False\n"
