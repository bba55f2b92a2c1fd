"""Makes random values of 32 bytes that sessions draw begin with `known_secrets.FIXED_PREFIX`.

Such values are ephemeral keys and nonces. The initiator's ephemeral keys are in no checkpoint and no message,
so a test could not know them otherwise. Codes (16 bytes) stay random.

The fork server preloads this module, which patches the session's code. Never import it into a test.
"""

import os
from types import SimpleNamespace

from spacedrive_node.actors.session import actor
from spacedrive_node.tests.harness.secret_sweep.known_secrets import FIXED_PREFIX


def draw(count: int) -> bytes:
    """Return `count` random bytes; 32 bytes begin with the fixed prefix."""
    return FIXED_PREFIX + os.urandom(count - len(FIXED_PREFIX)) if count == 32 else os.urandom(count)


actor.os = SimpleNamespace(urandom=draw)  # type: ignore[attr-defined]
