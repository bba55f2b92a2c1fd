"""The session's entry point: connects the machine with its channel, the clock and the system's randomness.

Implements docs/architecture.md, "Steps". Owns nothing else; never looks at a message.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ...messages.actor_configs import SessionConfig, decoder
from ...messages.child_protocol import Start
from ...messages.to_session import decode
from ..stepping import SteppingEntry
from .machine import SessionMachine

_decode_config = decoder(SessionConfig)


@contextmanager
def _restored(start: Start) -> Iterator[SessionMachine]:
    yield SessionMachine(_decode_config(start.config), os.urandom, start.checkpoint)


main = SteppingEntry(decode, _restored)
"""Runs one pairing until it ends or the node stops."""
