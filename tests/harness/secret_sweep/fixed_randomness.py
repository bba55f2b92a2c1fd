"""Loaded dice for the sessions of a test's node: whatever they draw in 32 bytes begins with `known.DICE`.

These are ephemeral keys and nonces. The initiator's ephemeral keys are in no checkpoint and no message, so no
test could know them otherwise. To be preloaded by the fork server (ProcessHost), which it changes for good:
never import it into a test. Codes (16 bytes) are drawn as always.
"""

import os
from types import SimpleNamespace

from spacedrive_node.actors.session import actor
from spacedrive_node.tests.harness.secret_sweep.known_secrets import DICE


def draw(count: int) -> bytes:
    """Draw so many bytes."""
    return DICE + os.urandom(count - len(DICE)) if count == 32 else os.urandom(count)


actor.os = SimpleNamespace(urandom=draw)  # type: ignore[attr-defined]
