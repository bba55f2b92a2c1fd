"""A real Prometheus that scrapes nodes with the files of deploy/prometheus/, several times a second.

Needs Debian's package `prometheus`. It listens on loopback only, and keeps its data in the test's folder.
"""

import json
import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"
DEADLINE = 30.0
_TARGET = "127.0.0.1:9464"
_INTERVAL = "scrape_interval: 15s"
_INTERVAL_S = 0.25
_FOR = re.compile(r"\bfor: \w+")
_IMPATIENT_FOR = "500ms"
_READY = "Server is ready to receive web requests"
_LISTENS = re.compile(r'msg="Listening on" address=(\S+)')


class Prometheus:
    """One that runs. Its calls block: in a test with trio they belong into a thread."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **parameters: str) -> Any:
        """Return `data` of a call of its API."""
        url = f"http://{self._address}/api/v1/{path}?{urlencode(parameters)}"
        with urlopen(url, timeout=DEADLINE) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of every series that an expression has now."""
        found = self.get("query", query=expression)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def wait_for(self, expression: str, series: int) -> None:
        """Ask until an expression has so many series."""
        ends = time.monotonic() + DEADLINE
        while len(self.query(expression)) < series:
            assert time.monotonic() < ends, expression
            time.sleep(_INTERVAL_S)  # the pace of its scrapes; it tells nobody of them


def _configure(folder: Path, targets: Sequence[str], *, patient: bool) -> Path:
    shutil.copytree(DEPLOY, folder)
    configuration = folder / "scrape.yml"
    text = configuration.read_text()
    assert _TARGET in text
    assert _INTERVAL in text
    text = text.replace(f'"{_TARGET}"', ", ".join(f'"{one}"' for one in targets))
    if not patient:
        rules = folder / "spacedrive-node.rules.yml"
        rules.write_text(_FOR.sub(f"for: {_IMPATIENT_FOR}", rules.read_text()))
    interval = f"{_INTERVAL_S * 1000:.0f}ms"
    fast = f"global:\n  evaluation_interval: {interval}\n"
    configuration.write_text(fast + text.replace(_INTERVAL, f"scrape_interval: {interval}"))
    return configuration


@contextmanager
def running_prometheus(folder: Path, targets: Sequence[str], *, patient: bool = True) -> Iterator[Prometheus]:
    """Run one that scrapes `targets` (HOST:PORT). Skips the test where there is none.

    Unless it is `patient` an alert fires when its fault has lasted half a second, in place of minutes.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    process = subprocess.Popen(
        [
            program,
            f"--config.file={_configure(folder, targets, patient=patient)}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if _READY in line:
                break
        listens = _LISTENS.search("".join(said))
        assert listens is not None, "".join(said)
        Thread(target=deque, args=(process.stderr, 0), daemon=True).start()  # nobody reads what follows
        yield Prometheus(listens[1])
    finally:
        process.terminate()
        process.wait(DEADLINE)
        process.stderr.close()
