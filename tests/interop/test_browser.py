"""js-libp2p in a browser dials this node over WebRTC: Chromium without a screen, on a page of this test."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
import trio
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.library.connection_limits import limit_inbound_connections
from spacedrive_node.config.extras import has_webrtc
from spacedrive_node.tests.harness.interop_peer import BUILT
from spacedrive_node.tests.harness.library_hosts import Open, our_host, running
from spacedrive_node.tests.interop.test_transports import ECHO, echo, until

DEADLINE = 90
PAGE = b'<!doctype html><script type="module" src="/browser.js"></script>'
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPT = BUILT / "browser.js"


@contextmanager
def served() -> Iterator[tuple[str, SimpleQueue[Any]]]:
    """Serve the page on loopback; gives its URL, and a queue of what is posted."""
    posted: SimpleQueue[Any] = SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_script = self.path == "/browser.js"
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
            self.end_headers()
            self.wfile.write(SCRIPT.read_bytes() if is_script else PAGE)

        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", posted
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browsing(url: str) -> Iterator[None]:
    """Show a page, without a window; the browser ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command = [str(BROWSER), *flags, "--no-first-run", f"--user-data-dir={profile}", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()


@pytest.mark.skipif(not has_webrtc(), reason="the extra webrtc is not installed: make webrtc")
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.skipif(not SCRIPT.exists(), reason="the page is not built: make interop")
@pytest.mark.parametrize("open_handshakes", [0, 20], ids=["plain", "cookie"])
@pytest.mark.parametrize("implementation", ["js-3"])
async def test_a_browser_dials_over_webrtc(implementation: str, open_handshakes: int) -> None:
    """It pings, sends 1 MB there and back, and closes; also where it has to show its address first."""
    host = our_host(1, webrtc=True)
    host.set_stream_handler(ECHO, echo)
    limit_inbound_connections(host.get_network(), Open())
    (transport,) = [
        one for one in host.get_network().transport_manager.get_transports() if hasattr(one, "certhash")
    ]
    for _ in range(open_handshakes):
        transport._identity.handshakes.begin("127.0.0.0/24")
    async with running(host, listen=Multiaddr("/ip4/127.0.0.1/udp/0/webrtc-direct")) as (address,):
        target = quote(f"{address}/p2p/{host.get_id()}", safe="")
        with served() as (url, posted), browsing(f"{url}#{target}"):
            found = await trio.to_thread.run_sync(lambda: posted.get(timeout=DEADLINE))
            assert found.get("same") is True, found
            with trio.fail_after(DEADLINE):
                await until(lambda: not host.get_network().get_connections())
