"""js-libp2p in a browser dials this node over WebSocket and WebRTC.

The browser is headless Chromium, and the page is served here. Needs Debian's `chromium-headless-shell` or
`chromium` beside what `make interop` builds.
"""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h11
import pytest
import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.actors.swarm.library.connections import transport_of
from spacedrive_node.actors.swarm.library.handshake_limits import RETRY_ABOVE_PER_BLOCK
from spacedrive_node.actors.swarm.websocket.transport import WebSocketTransport
from spacedrive_node.actors.swarm.websocket.wire import WebSocketOptions
from spacedrive_node.config.extras import has_webrtc
from spacedrive_node.tests.harness.interop_peer import BUILT, echo
from spacedrive_node.tests.harness.library_hosts import Open, our_host, running
from spacedrive_node.tests.harness.websocket_hosts import make_certificate

BROWSERS = ("chromium-headless-shell", "chromium")
ECHO = "/spacedrive-interop/echo/1.0.0"
FORMS = {
    "ws": "/ip4/127.0.0.1/tcp/0/ws",
    "wss": "/ip4/127.0.0.1/tcp/0/tls/ws",
    "webrtc": "/ip4/127.0.0.1/udp/0/webrtc-direct",
}
PAGE = b'<!doctype html><meta charset="utf-8"><script type="module" src="/browser.js"></script>'
DEADLINE = 60
CHUNK_BYTES = 1 << 16


class Site:
    """Serves the page and its script, once each, and takes what the page posts."""

    def __init__(self, script: bytes) -> None:
        self.files = {"/": ("text/html", PAGE), "/browser.js": ("text/javascript", script)}
        self.posted: dict[str, Any] = {}
        self.done = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one request, and close."""
        http = h11.Connection(h11.SERVER)
        target, body = "", b""
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some(CHUNK_BYTES))
            elif isinstance(event, h11.Request):
                target = event.target.decode().partition("?")[0]
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return
        kind, content = self.files.get(target, ("text/plain", b""))
        headers = [("content-type", kind), ("content-length", str(len(content))), ("connection", "close")]
        sent = http.send(h11.Response(status_code=200 if target in self.files else 404, headers=headers))
        await stream.send_all(sent + http.send(h11.Data(data=content)) + http.send(h11.EndOfMessage()))
        if target == "/result":
            self.posted = json.loads(body)
            self.done.set()


@asynccontextmanager
async def browsing(browser: str, folder: Path, script: bytes, address: str) -> AsyncIterator[Site]:
    """Serve the page, and open it for an address to dial."""
    site = Site(script)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, site.serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/#{address}"
        process = await trio.lowlevel.open_process(
            [
                browser,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                "--ignore-certificate-errors",  # that of the test is nobody's
                *(f"--user-data-dir={folder}", "--remote-debugging-port=0", url),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield site
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("transport", ["ws", "wss"])
@pytest.mark.parametrize("implementation", ["js-2", "js-3"])
async def test_a_page_in_chromium_dials_us(tmp_path: Path, implementation: str, transport: str) -> None:
    """Identify, ping, 1 MB there and back, and the page closes the connection."""
    made = make_certificate(tmp_path, ["127.0.0.1"])
    options = WebSocketOptions(certificate=made.certificate, key=made.key)
    host = our_host(1, websocket=WebSocketTransport(options))
    await use_from_a_page(host, transport, implementation, tmp_path)


@pytest.mark.skipif(not has_webrtc(), reason="the extra webrtc is not installed: make webrtc")
@pytest.mark.parametrize("is_crowded", [False, True])
@pytest.mark.parametrize("implementation", ["js-3"])
async def test_a_page_in_chromium_dials_us_over_webrtc(
    tmp_path: Path, implementation: str, is_crowded: bool
) -> None:
    """The same; also where so many handshakes are open that it has to show its address first."""
    host = our_host(1, webrtc=True)
    limit_inbound_connections(host.get_network(), Open())
    if is_crowded:
        transports = host.get_network().transport_manager.get_transports()
        (transport,) = [one for one in transports if "webrtc-direct" in one.protocols()]
        for number in range(RETRY_ABOVE_PER_BLOCK):
            transport._identity.handshakes.begin(number, "127.0.0.0/24")
    await use_from_a_page(host, "webrtc", implementation, tmp_path)


async def use_from_a_page(host: Any, transport: str, implementation: str, tmp_path: Path) -> None:
    """Have a page dial a host and use the connection; skips the test where there is no browser or page."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    bundle = BUILT / implementation / "browser.js"
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    if not bundle.exists():
        pytest.skip(f"the page of {implementation} is not built: make interop")
    host.set_stream_handler(ECHO, echo)
    async with (
        running(host, listen=Multiaddr(FORMS[transport])) as (address,),
        browsing(
            browser, tmp_path / "browser", bundle.read_bytes(), f"{address}/p2p/{host.get_id()}"
        ) as site,
    ):
        with trio.fail_after(DEADLINE):
            await site.done.wait()
            assert "error" not in site.posted, site.posted["error"]
            assert site.posted["remote"] == str(host.get_id())
            assert ECHO in site.posted["protocols"]
            assert site.posted["same"] is True
            assert "Chrome/" in site.posted["agent"]
            for connection in host.get_network().get_connections():
                assert transport_of(connection.muxed_conn) == transport
            while host.get_network().get_connections():
                await trio.lowlevel.checkpoint()
