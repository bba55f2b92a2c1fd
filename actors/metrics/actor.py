"""The entry point of metrics: drives the stepping machine (machine.py), with the HTTP server beside it.

On trio, unlike the other stepping actors, because the HTTP server waits for clients at the same time.
"""

import time
from collections.abc import Awaitable, Callable

from ...messages.actor_configs import MetricsConfig, decoder
from ...messages.child_protocol import Start
from ...messages.to_metrics import decode
from ..base import ActorChannel, Send
from ..http_server import HttpServer
from ..stepping import run_stepping_actor
from .http_server import MetricsPages
from .machine import Metrics

_decode_config = decoder(MetricsConfig)


async def main(channel: ActorChannel) -> None:
    """Run metrics until the node stops."""
    socket_fd: int | None = None

    def make(start: Start) -> Metrics:
        nonlocal socket_fd
        config = _decode_config(start.config)
        socket_fd = config.socket_fd
        return Metrics(config.version, start.checkpoint, time.time())

    async def serve(metrics: Metrics, send: Callable[[Send], Awaitable[None]]) -> None:
        if socket_fd is not None:
            await HttpServer(MetricsPages(metrics, send).answer).serve(socket_fd)

    await run_stepping_actor(channel, decode, make, background=serve)
