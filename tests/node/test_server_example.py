"""examples/server_asyncio.py: two servers that embed a node each pair over HTTP, as their users would."""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from spacedrive_node.tests.harness.node_commands import DEADLINE
from spacedrive_node.tests.harness.secret_sweep import collector

SERVER = Path(__file__).resolve().parent.parent.parent / "examples" / "server_asyncio.py"
LOGIN = "Basic " + base64.b64encode(b"admin:secret").decode()


class Server:
    """One server, started as its docstring says."""

    def __init__(self, folder: Path, name: str) -> None:
        variables = {
            "DATA_DIR": str(folder / name),
            "PORT": "0",
            "SD_AUTH": "admin:secret",
            "SD_P2P": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder), **variables},
            stdout=subprocess.PIPE,
            text=True,
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

    def events(self) -> Iterator[dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", "/events", headers={"Authorization": LOGIN})
            response = connection.getresponse()
            assert response.headers["content-type"] == "text/event-stream"
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: ") :])
        finally:
            connection.close()

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
def server(folder: Path, name: str) -> Iterator[Server]:
    started = Server(folder, name)
    try:
        yield started
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(DEADLINE) == 0
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait(DEADLINE)
        assert started.process.stdout is not None
        started.process.stdout.close()


def test_two_servers_pair_over_http() -> None:
    """Start, join, confirm, list, revoke; who has no password gets nothing, and SIGTERM ends it in order."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sdnode-")))
        a, b = [stack.enter_context(server(folder, name)) for name in ("anna", "bruno")]
        assert a.request("GET", "/devices", login="Basic bm8=")[0] == 401
        assert a.request("GET", "/events", login="")[0] == 401
        assert a.request("GET", "/nothing")[0] == 404
        assert a.request("POST", "/pairings", {"code": "twelve words"})[0] == 400
        assert a.request("DELETE", "/pairings/0123456789abcdef")[0] == 404
        status, shown = a.request("POST", "/pairings", {})
        assert status == 201
        collector.add_code(shown["words"])
        status, joined = b.request("POST", "/pairings", {"code": shown["words"]})
        assert status == 201
        ends = [end.result(DEADLINE) for end in [threads.submit(each.follow) for each in (a, b)]]
        assert [end["outcome"] for end in ends] == ["paired", "paired"]
        assert ends[0]["fingerprint"] == ends[1]["fingerprint"]
        assert [end["session"] for end in ends] == [shown["session"], joined["session"]]
        _, (device,) = a.request("GET", "/devices")
        assert device["name"] == ends[0]["device"]
        assert a.request("DELETE", f"/devices/{device['id']}")[0] == 200
        assert a.request("GET", "/devices") == (200, [])
        assert a.request("GET", "/health")[0] == 200


def test_it_is_short() -> None:
    """Few enough lines to read before one begins with one's own."""
    assert len(SERVER.read_text().splitlines()) < 120
