"""The entry point of web: a page for one node, served over HTTP, which is a client of the gateway.

Owns the parts and their tasks. Keeps no checkpoint and no secret but what it has just been sent: a restarted
web has it from the gateway again, and a page that is open connects again with its token. Never opens a
socket: it accepts on the one that it is given.
"""

import trio

from ...messages.actor_configs import WebConfig
from ...messages.actor_configs import decoder as config_decoder
from ...messages.child_protocol import Start
from ...messages.to_web import WebInbox, decode
from ..base import ActorChannel, Mailbox, now, run_live_actor
from ..http_server import HttpServer
from .access import SECURITY_HEADERS
from .event_stream import EventStreams
from .gateway_client import GatewayClient
from .live_state import LiveState
from .routes import MAX_BODY_BYTES, Routes
from .shown_sessions import ShownSessions
from .watcher import Watcher

_decode_config = config_decoder(WebConfig)


def warm_up() -> None:
    """Import what is imported at first use otherwise: in the sandbox no module can be opened."""
    from .page_json import qr_path

    qr_path(None, " ".join(["abandon"] * 12))


async def main(channel: ActorChannel) -> None:
    """Run web over its channel with the supervisor."""
    await run_live_actor(channel, decode, _run)


async def _run(mailbox: Mailbox[WebInbox], start: Start) -> None:
    config = _decode_config(start.config)
    live = LiveState()
    sessions = ShownSessions(live, now)
    client = GatewayClient(mailbox, sessions.show, lambda: watcher.devices_may_have_changed())
    watcher = Watcher(client, live, sessions)
    routes = Routes(client, EventStreams(live, watcher, config.run), config.token_digest)
    server = HttpServer(routes.answer, headers=SECURITY_HEADERS, max_body_bytes=MAX_BODY_BYTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        nursery.start_soon(sessions.draw_codes)
        nursery.start_soon(server.serve, config.socket_fd)
        await client.run()
        nursery.cancel_scope.cancel()
