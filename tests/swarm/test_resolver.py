"""Names of hosts within a sandbox: what has to be loaded before, and a list of servers that is replaced."""

import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from spacedrive_node.actors.swarm.dial import resolver
from spacedrive_node.actors.swarm.dial.resolver import (
    Resolver,
    ResolverFilesReplacedError,
    load_name_services,
)
from spacedrive_node.messages.to_discovery import SwarmUp
from spacedrive_node.messages.to_swarm import Ask
from spacedrive_node.tests.harness.swarm_actors import open_swarm

SWITCH = """\
passwd: files systemd
hosts:  files mdns4_minimal [NOTFOUND=return] dns  # the usual
networks: files
"""
CONFINED = """
import sys, trio
from pathlib import Path
from spacedrive_node.actors.swarm import warm_up
from spacedrive_node.actors.swarm.dial.resolver import Resolver, ResolverFilesReplacedError
from spacedrive_node.messages.child_protocol import Log
from spacedrive_node.sandbox_profiles import SWARM
from spacedrive_node.supervisor.sandbox import enter_sandbox
from msgspec.structs import replace

async def main():
    applied = enter_sandbox(replace(SWARM, files=(*SWARM.files, sys.argv[1])), 0)
    names = Resolver([Path(sys.argv[1])])
    (first, *_) = await names.resolve("localhost", 80)
    print(first[4][1], flush=True)
    sys.stdin.readline()
    try:
        await names.resolve("localhost", 80)
    except ResolverFilesReplacedError:
        print("replaced")
    else:
        print("the same" if applied["landlock"] == "ok" else "no landlock")

warm_up()
trio.run(main)
"""


def test_the_services_that_are_configured_are_loaded(tmp_path: Path) -> None:
    """Only those for hosts, without actions and remarks; no file, none."""
    (tmp_path / "switch").write_text(SWITCH)
    assert load_name_services(tmp_path / "switch") == ["files", "mdns4_minimal", "dns"]
    assert load_name_services(tmp_path / "none") == []


@pytest.mark.parametrize(("how", "seen"), [("replaced", "replaced"), ("rewritten", "the same")])
def test_a_file_that_is_replaced_is_noticed_in_the_sandbox(tmp_path: Path, how: str, seen: str) -> None:
    """Another file of the same name is none that the sandbox allows; the swarm starts again for it."""
    servers = tmp_path / "resolv.conf"
    servers.write_text("nameserver 127.0.0.1\n")
    with subprocess.Popen(
        [sys.executable, "-c", CONFINED, str(servers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "80\n"
        if how == "replaced":
            (tmp_path / "new").write_text("nameserver 127.0.0.2\n")
            (tmp_path / "new").rename(servers)
        else:
            servers.write_text("nameserver 127.0.0.2\n")
        answer, _ = child.communicate("\n", timeout=60)
        assert child.returncode == 0
    if answer == "no landlock\n":
        pytest.skip("this kernel has no Landlock")
    assert answer == f"{seen}\n"


async def test_a_file_that_was_never_there_is_no_reason_to_restart(tmp_path: Path) -> None:
    """Nor one that is not there."""
    for file in (tmp_path / "none", tmp_path / "none" / "below"):
        with trio.fail_after(20):
            assert await Resolver([file]).resolve("localhost", 80)
    assert issubclass(ResolverFilesReplacedError, Exception)
    assert not issubclass(ResolverFilesReplacedError, OSError)  # which a dial takes for a dead address


def nowhere(*arguments: Any, **_options: Any) -> list[Any]:
    """Find nothing for any name, in place of getaddrinfo(3); trio asks first whether it is a number."""
    if len(arguments) > 2:
        raise socket.gaierror(socket.EAI_NONAME, "a name")
    return []


class _NameService(trio.abc.HostnameResolver):
    """Answers with one address, or fails with a number of getaddrinfo(3)."""

    failure: int | None = None

    async def getaddrinfo(self, *_arguments: Any, **_options: Any) -> list[Any]:
        if self.failure is not None:
            raise socket.gaierror(self.failure, "failed")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("45.1.1.1", 1))]

    async def getnameinfo(self, *_arguments: Any) -> tuple[str, str]:
        raise NotImplementedError


async def test_names_of_strangers_keep_no_other_name_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their name server says nothing: the thread of each stays, though nobody waits for it any more."""
    begun, let_go = threading.Event(), threading.Event()
    asked: list[str] = []

    def look_up(host: Any, *_arguments: Any, **_options: Any) -> list[Any]:
        if _arguments[-1:] != (0,) and len(_arguments) > 1:  # trio asks first whether it is a number
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        text = host if isinstance(host, str) else host.decode()
        if text.endswith(".hearsay"):
            asked.append(text)
            begun.set()
            let_go.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("45.1.1.1", 1))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names = Resolver([])
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(partial(names.resolve, f"{number}.hearsay", 1, is_hearsay=True))
                await trio.to_thread.run_sync(begun.wait, 60, limiter=trio.CapacityLimiter(1))
                nursery.cancel_scope.cancel()
            assert await names.resolve("relay.example", 1)
        assert len(asked) <= resolver.MAX_HEARSAY_LOOKUPS
    finally:
        let_go.set()


async def test_a_name_leads_where_it_led_before_while_no_server_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that does not exist any more leads nowhere; both are said once."""
    warnings: list[dict[str, str]] = []
    service = _NameService()
    trio.socket.set_custom_hostname_resolver(service)
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    names = Resolver([], lambda _event, fields: warnings.append(fields))
    found = await names.resolve("one.example", 1)
    service.failure = socket.EAI_AGAIN
    assert await names.resolve("one.example", 1) == found
    for failure in (socket.EAI_AGAIN, socket.EAI_NONAME):
        service.failure = failure
        for _time in range(2):
            with pytest.raises(OSError, match="failed"):
                await names.resolve("other.example", 1)
    service.failure = socket.EAI_NONAME
    for _time in range(2):
        with pytest.raises(OSError, match="failed"):
            await names.resolve("one.example", 1)
    assert [one["name"] for one in warnings] == ["other.example", "one.example"]
    service.failure = None
    assert await names.resolve("one.example", 1) == found
    for number in range(1000):
        await names.resolve(f"{number}.example", 1)
        await names.resolve(f"{number}.hearsay", 1, is_hearsay=True)
    assert len(names._known) == 256
    assert {host.rpartition(".")[2] for host, _port in names._known} == {"example"}


async def test_a_swarm_whose_files_were_replaced_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever request it was for: it is started again, with the new ones."""

    async def replaced(_names: Resolver, _host: str, _port: int, **_options: Any) -> None:
        raise ResolverFilesReplacedError

    monkeypatch.setattr(Resolver, "resolve", replaced)
    async with open_swarm("a", up=False) as a:
        await a.expect(SwarmUp)
        await a.deliver(
            "session-" + "a" * 16, Ask(1, b"\x00\x24" + bytes(36), ("/dns4/localhost/tcp/1",), b"x")
        )
        with trio.fail_after(20):
            await a.gone.wait()
    assert isinstance(a.crash, BaseExceptionGroup)
    assert a.crash.subgroup(ResolverFilesReplacedError)


def test_nothing_that_the_swarm_uses_is_imported_later() -> None:
    """Imports within functions of libp2p and multiaddr, of modules that are not loaded once it is warm: only
    those that belong to transports and health checks, which are off, and to names, which it does not ask.
    """
    done = subprocess.run(
        [sys.executable, "-c", LATER], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [
        "libp2p.network.health.data_structures",
        "libp2p.network.health.monitor",
        "libp2p.transport.webrtc.private_transport",
        "libp2p.transport.webrtc.transport",
        "libp2p.transport.websocket.connection",
        "libp2p.transport.websocket.transport",
        "libp2p.transport.webtransport",
        "trio_websocket",
    ]


LATER = """
import ast, importlib.util, sys
from spacedrive_node.actors.swarm import warm_up

warm_up()
missing = set()
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None) or ""
    if name.split(".")[0] not in ("libp2p", "multiaddr") or not file.endswith(".py"):
        continue
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    with open(file) as source:
        tree = ast.parse(source.read())
    for function in ast.walk(tree):
        if isinstance(function, functions):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    missing |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    stem = "." * node.level + (node.module or "")
                    missing.add(importlib.util.resolve_name(stem, module.__package__))
print(*sorted(missing - set(sys.modules)), sep="\\n")
"""
