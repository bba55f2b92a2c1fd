"""The example servers, which embed a node each: two of them pair over HTTP, as their users would.

examples/server_asyncio.py, and clients/rust/examples/server.rs where RUST_SERVER names its program, as
`make test-rust` does.
"""

import base64
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from spacedrive_node.tests.harness.node_commands import DEADLINE, SDNODE
from spacedrive_node.tests.harness.secret_sweep import collector

SERVER = Path(__file__).resolve().parent.parent.parent / "examples" / "server_asyncio.py"
COMMANDS = {"asyncio": [sys.executable, str(SERVER)]}
if "RUST_SERVER" in os.environ:
    COMMANDS["rust"] = [os.environ["RUST_SERVER"]]
LOGIN = "Basic " + base64.b64encode(b"admin:secret").decode()


class Server:
    """One server, started as its documentation says."""

    def __init__(self, command: list[str], folder: Path, name: str, **variables: str) -> None:
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(folder),
            "DATA_DIR": str(folder / name),
            "PORT": "0",
            "SD_AUTH": "admin:secret",
            "SD_P2P": "false",
            **variables,
        }
        # What a script starts in the background ignores SIGINT, and so does anna; nobody else inherits that.
        sigint = "--ignore-signal=INT" if name == "anna" else "--default-signal=INT"
        self.process = subprocess.Popen(
            ["env", sigint, *command], env=self.environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(DEADLINE)
            self.process.stdout.close()
            raise AssertionError("the server did not start")
        self.port = json.loads(line)["port"]

    def request(self, method: str, path: str, body: Any = None, login: str = LOGIN) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Authorization": login})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def events(self, name: str = "message") -> Iterator[Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", "/events", headers={"Authorization": LOGIN})
            response = connection.getresponse()
            assert response.headers["content-type"] == "text/event-stream"
            event = "message"
            while line := response.readline():
                if line.startswith(b"event: "):
                    event = line[len(b"event: ") :].decode().strip()
                elif line.startswith(b"data: ") and event == name:
                    yield json.loads(line[len(b"data: ") :])
                elif line == b"\n":
                    event = "message"
        finally:
            connection.close()

    def node_pid(self) -> int:
        done = subprocess.run(
            [*SDNODE, "actors", "--json", "--data-dir", self.environment["DATA_DIR"]],
            capture_output=True,
            env=self.environment,
            timeout=DEADLINE,
            check=True,
        )
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return next(row["pid"] for row in rows if row["actor"] == "supervisor")

    def follow(self) -> dict[str, Any]:
        """Accept the device that the events show, and return the last of them."""
        for state in self.events():
            if state["outcome"] is not None:
                return state
            if state["check"] is not None and state["stage"] == "deciding":
                status, reply = self.request("POST", f"/pairings/{state['session']}/accept")
                assert status == 200 or reply["code"] == "not_deciding", reply
        raise AssertionError("the events have ended")


@contextmanager
def server(command: list[str], folder: Path, name: str, **variables: str) -> Iterator[Server]:
    started = Server(command, folder, name, **variables)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait(DEADLINE)
        assert started.process.stdout is not None
        started.process.stdout.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name:
        yield Path(name)


@pytest.fixture(params=COMMANDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_two_servers_pair_over_http(kind: str, folder: Path) -> None:
    """Start, join, confirm, list, revoke; who has no password gets nothing, and a signal ends it in order.

    The event stream of Rust tells the devices, too.
    """
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        a, b = [stack.enter_context(server(COMMANDS[kind], folder, name)) for name in ("anna", "bruno")]
        for login in ("Basic bm8=", "", LOGIN[:-1], LOGIN + "="):
            assert a.request("GET", "/devices", login=login)[0] == 401
            assert a.request("GET", "/nothing", login=login)[0] == 401
        assert a.request("GET", "/events", login="")[0] == 401
        assert a.request("GET", "/nothing")[0] == 404
        assert a.request("PUT", "/devices")[0] == 404
        assert a.request("POST", "/pairings", {"code": "twelve words"})[0] == 400
        assert a.request("POST", "/pairings", {"code": "x" * 20_000})[0] in (400, 413)
        assert a.request("DELETE", "/pairings/0123456789abcdef")[0] == 404
        assert a.request("POST", "/pairings/0123456789abcdef/accept")[0] == 404
        assert a.request("DELETE", "/devices/no-id")[0] == 400
        assert a.request("DELETE", "/devices/00ff")[0] == 400
        assert a.request("POST", "/pairings/no-id/accept")[0] == 400
        assert a.request("DELETE", f"/devices/{'0' * 32}")[0] == 404
        lists = a.events("devices")
        assert kind == "asyncio" or next(lists) == []
        status, shown = a.request("POST", "/pairings", {})
        assert status == 201
        collector.add_code(shown["words"])
        status, joined = b.request("POST", "/pairings", {"code": shown["words"]})
        assert status == 201
        ends = [end.result(DEADLINE) for end in [threads.submit(each.follow) for each in (a, b)]]
        assert [end["outcome"] for end in ends] == ["paired", "paired"]
        assert ends[0]["fingerprint"] == ends[1]["fingerprint"]
        assert [end["session"] for end in ends] == [shown["session"], joined["session"]]
        assert a.request("POST", f"/pairings/{shown['session']}/reject")[0] == 409
        _, (device,) = a.request("GET", "/devices")
        assert device["name"] == ends[0]["device"]
        assert kind == "asyncio" or [device] in lists
        assert a.request("DELETE", f"/devices/{device['id']}")[0] == 200
        assert kind == "asyncio" or [] in lists
        assert a.request("GET", "/devices") == (200, [])
        assert a.request("GET", "/health")[0] == 200
        for one, which in ((a, signal.SIGTERM), (b, signal.SIGINT)):
            one.process.send_signal(which)
            assert one.process.wait(DEADLINE) == 0


def test_a_node_that_is_killed(kind: str, folder: Path) -> None:
    """The server of asyncio ends with it. That of Rust starts another, which its event streams go on with.

    And a node ends with its server, when that is killed.
    """
    with server(COMMANDS[kind], folder, "anna", SD_AUTH="disabled") as a:
        events = a.events()
        first = a.request("POST", "/pairings", login="")[1]
        collector.add_code(first["words"])
        assert next(events)["session"] == first["session"]
        os.kill(a.node_pid(), signal.SIGKILL)
        if kind == "asyncio":
            assert a.process.wait(DEADLINE) == 1
            return
        deadline = time.monotonic() + DEADLINE
        status, second = a.request("POST", "/pairings", {})
        while status == 503 and time.monotonic() < deadline:
            status, second = a.request("POST", "/pairings", {})
        assert status == 201
        collector.add_code(second["words"])
        assert second["session"] in (event["session"] for event in events)
        node = os.pidfd_open(a.node_pid())
        try:
            a.process.kill()
            ended, _, _ = select.select([node], [], [], DEADLINE)
            assert ended
        finally:
            os.close(node)


@pytest.mark.parametrize("variables", [{"SD_AUTH": ""}, {"SD_AUTH": "secret"}, {"SD_P2P": "False"}])
def test_settings_that_are_none_start_nothing(kind: str, folder: Path, variables: dict[str, str]) -> None:
    """Without a password the server would be open to all, and a node that was to stay offline would not."""
    started = subprocess.run(
        COMMANDS[kind],
        env={**os.environ, "DATA_DIR": str(folder / "data"), "PORT": "0", "SD_AUTH": "a:b", **variables},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (started.returncode, started.stdout) == (1, "")
    assert next(iter(variables)) in started.stderr
    assert not (folder / "data").exists()


def test_it_is_short() -> None:
    """Few enough lines to read before one begins with one's own."""
    assert len(SERVER.read_text().splitlines()) < 120
