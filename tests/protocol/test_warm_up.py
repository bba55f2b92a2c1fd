"""A sandboxed session must never need an import."""

import subprocess
import sys

PROGRAM = """
import sys
import spacedrive_node.actors.session as session

session.warm_up()

def refuse(event, args):
    if event == "import" or event == "open":
        raise PermissionError(f"{event} {args[0]}")

sys.addaudithook(refuse)
from_here_on = len(sys.modules)
session.warm_up()
assert len(sys.modules) == from_here_on
print("ok")
"""


def test_after_the_warm_up_an_attempt_imports_and_opens_nothing() -> None:
    """cryptography imports its backend when the first key is made: without the warm-up that fails."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ok\n", done.stderr
