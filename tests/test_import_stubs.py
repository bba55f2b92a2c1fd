"""What a node's processes do not import, and what happens to whoever uses it all the same."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

PROGRAM = """
import json, sys
from spacedrive_node import import_stubs
from spacedrive_node.actors import swarm
from spacedrive_node.actors.swarm.library.unused_modules import UNUSED_BY_LIBP2P as UNUSED

swarm.warm_up()
modules = len(sys.modules)
there = [n for n in sys.modules if any(n == u or n.startswith(u + ".") for u in UNUSED)]
import libp2p
said = libp2p.__version__
try:
    libp2p.QUICTransport()
    raised = ""
except import_stubs.StubCalledError as error:
    raised = str(error)
from libp2p.transport.quic.config import QUICTransportConfig
import importlib.metadata
versions = [said, importlib.metadata.version("libp2p")]
print(json.dumps([there, modules, raised, QUICTransportConfig().idle_timeout > 0, versions]))
"""


def test_the_swarm_does_not_import_what_it_does_not_use() -> None:
    """Fewer than 820 modules; a use is an error with a name; a later import gets the true module.

    What one of them would say of the library's version, which peers are told, is said all the same.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    there, modules, raised, true_one, versions = json.loads(done.stdout)
    assert there == []
    assert modules < 820
    assert "QUICTransport" in raised
    assert true_one
    assert versions[0] == versions[1]


KEY_PROGRAM = """
import sys
from spacedrive_node.actors import swarm

swarm.warm_up()
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.serialization import deserialize_public_key

key = create_new_key_pair().public_key
assert deserialize_public_key(key.serialize()) == key
print("google.protobuf.internal.python_message" in sys.modules)
"""


@pytest.mark.parametrize("implementation", ["python", "upb"])
def test_protobuf_in_python_is_imported_where_there_is_no_other(implementation: str) -> None:
    """The messages of libp2p are read and written by either."""
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}
    program = [sys.executable, "-c", KEY_PROGRAM]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(implementation == "python")


UP_PROGRAM = """
import atexit, json, sys
from spacedrive_node.__main__ import main

atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
sys.exit(main())
"""


def test_the_supervisor_of_a_running_node_has_nothing_of_tls() -> None:
    """It speaks with nobody on another machine: 1.3 MiB that trio would bring; trio itself works as ever."""
    flags = ["--offline", "--metrics-listen", "off", "--listen", "/ip4/127.0.0.1/tcp/0"]
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            [sys.executable, "-c", UP_PROGRAM, "up", "--json", "--lifeline", "--data-dir", directory, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": directory},
        ) as node,
    ):
        assert node.stdout is not None
        assert json.loads(node.stdout.readline())["event"] == "ready"
        output, _ = node.communicate(timeout=60)
    modules = json.loads(output.splitlines()[-1])
    assert "trio" in modules
    unused = ("anyio", "asyncio", "concurrent", "idna", "libp2p", "prometheus_client", "rich", "ssl", "_ssl")
    assert [name for name in unused if name in modules] == []


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        (
            "actors.metrics.exposition",
            ["email", "http.client", "urllib.request", "wsgiref"],
        ),
        ("import_stubs", ["importlib.resources", "tempfile"]),
        ("node", ["anyio", "asyncio", "concurrent", "libp2p", "pickle", "prometheus_client", "rich"]),
    ],
)
def test_what_a_process_does_not_need_is_not_in_it(module: str, unused: list[str]) -> None:
    """Most of these are a MiB or more for as long as a node runs."""
    program = f"import json, sys, spacedrive_node.{module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [name for name in unused if name in json.loads(done.stdout)] == []
