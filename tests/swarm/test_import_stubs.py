"""What the swarm's process does not import, and what happens to whoever uses it all the same."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from spacedrive_node.actors import swarm
from spacedrive_node.actors.swarm.library import import_stubs

swarm.warm_up()
modules = len(sys.modules)
there = [n for n in sys.modules if any(n == u or n.startswith(u + ".") for u in import_stubs.UNUSED_MODULES)]
import libp2p
try:
    libp2p.QUICTransport()
    raised = ""
except import_stubs.StubCalledError as error:
    raised = str(error)
from libp2p.transport.quic.config import QUICTransportConfig
print(json.dumps([there, modules, raised, QUICTransportConfig().idle_timeout > 0]))
"""


def test_the_swarm_does_not_import_what_it_does_not_use() -> None:
    """Fewer than a thousand modules; a use is an error with a name; a later import gets the true module."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    there, modules, raised, true_one = json.loads(done.stdout)
    assert there == []
    assert modules < 1000
    assert "QUICTransport" in raised
    assert true_one
