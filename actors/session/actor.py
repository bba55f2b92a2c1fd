"""The session's entry point: joins the machine to its channel, the clock and the system's randomness.

Owns nothing else. docs/architecture.md, "Steps".
"""

import os

from ...messages.config import SessionConfig, decoder
from ...messages.frames import Start
from ...messages.to_session import decode
from ..base import ActorChannel, run_stepping
from .machine import SessionMachine


async def main(channel: ActorChannel) -> None:
    """Run one pairing until it ends or the node stops."""
    await run_stepping(channel, decode, _restore)


def _restore(start: Start) -> SessionMachine:
    config = decoder(SessionConfig)(start.config)
    return SessionMachine(config, os.urandom, start.checkpoint)
