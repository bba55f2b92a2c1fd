"""Drives a headless Chromium over the pipe of its DevTools protocol: pages, keys, pictures.

The browser speaks with 127.0.0.1 only. One name of a stranger, evil.example, leads there as well, as DNS
rebinding would have it; every other name leads nowhere.
"""

import base64
import fcntl
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from spacedrive_node.tests.harness.small_png import small_png

BROWSERS = ("chromium", "chromium-headless-shell", "google-chrome")
DEADLINE = 60.0
_RULES = "MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--disable-default-apps", "--hide-scrollbars", "--mute-audio",
    "--force-color-profile=srgb", "--remote-debugging-pipe", f"--host-resolver-rules={_RULES}",
)  # fmt: skip
_KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), " ": (32, " ")}
_WAIT = """
new Promise((done) => {
  const look = () => { try { return (%s); } catch { return false; } };
  const end = (value) => { clearInterval(timer); watch.disconnect(); done(value); };
  const again = () => { const value = look(); if (value) end(value); };
  const watch = new MutationObserver(again);
  const timer = setInterval(again, 100);
  watch.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  again();
})
"""


class BrowserError(Exception):
    """The browser refused a command, or a script in it failed."""


class Browser:
    """A running browser; from `running_browser`."""

    def __init__(self, to_browser: trio.lowlevel.FdStream, from_browser: trio.lowlevel.FdStream) -> None:
        self._out, self._in = to_browser, from_browser
        self._numbers = itertools.count(1)
        self._replies: dict[int, tuple[trio.Event, list[dict[str, Any]]]] = {}
        self._pages: dict[str, Page] = {}
        self._writing = trio.Lock()

    async def run(self) -> None:
        data = b""
        while True:
            part = await self._in.receive_some(1 << 16)
            if not part:
                return
            data += part
            *messages, data = data.split(b"\0")
            for raw in messages:
                message = json.loads(raw)
                if "id" in message:
                    event, result = self._replies.pop(message["id"], (trio.Event(), []))
                    result.append(message)
                    event.set()
                elif message.get("sessionId") in self._pages:
                    self._pages[message["sessionId"]].take(message["method"], message["params"])

    async def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Send a command and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        event, result = self._replies[number] = trio.Event(), []
        async with self._writing:
            await self._out.send_all(json.dumps(message).encode() + b"\0")
        with trio.fail_after(DEADLINE):
            await event.wait()
        if "error" in result[0]:
            raise BrowserError(f"{method}: {result[0]['error']['message']}")
        return result[0]["result"]

    async def open_page(self) -> "Page":
        """Open a page in a profile of its own, as another person's browser has."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.send(f"{domain}.enable")
        await page.resize(1100, 800)
        return page


class Page:
    """One page. `problems` are what its console says is wrong."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.problems: list[str] = []
        self.requested: list[str] = []
        """The addresses that were asked for."""
        self.failed: list[str] = []
        """Why requests failed."""
        self._loaded = trio.Event()

    async def send(self, method: str, **params: Any) -> Any:
        return await self._browser.send(method, self._session, **params)

    def take(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.problems.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.problems.append(str(params["exceptionDetails"].get("exception", params)))
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Network.loadingFailed":
                self.failed.append(params["errorText"])
            case "Page.loadEventFired":
                self._loaded.set()

    async def goto(self, address: str) -> None:
        """Load an address, also one that is refused."""
        self._loaded = trio.Event()
        await self.send("Page.navigate", url=address)
        with trio.fail_after(DEADLINE):
            await self._loaded.wait()

    async def reload(self) -> None:
        self._loaded = trio.Event()
        await self.send("Page.reload")
        with trio.fail_after(DEADLINE):
            await self._loaded.wait()

    async def evaluate(self, script: str) -> Any:
        """Run a script in the page and return its value; a promise is awaited."""
        found = await self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return found["result"].get("value")

    async def wait_for(self, condition: str) -> Any:
        """Wait until an expression is true in the page, whatever it loads meanwhile; return its value."""
        with trio.fail_after(DEADLINE):
            while True:
                try:
                    return await self.evaluate(_WAIT % condition)
                except BrowserError as error:  # another document has taken the place of this one
                    if "navigated" not in str(error) and "context" not in str(error):
                        raise

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key, as a person does."""
        code, text = _KEYS[key]
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        await self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def tab_to(self, selector: str) -> None:
        """Press Tab until an element has the focus: it can be reached without a mouse."""
        for _ in range(60):
            if await self.evaluate(f"document.activeElement?.matches({selector!r}) ?? false"):
                return
            await self.press("Tab")
        raise AssertionError(f"{selector} cannot be reached by Tab")

    async def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        await self.send("Emulation.setDeviceMetricsOverride", **size)

    async def use_colours(self, scheme: str) -> None:
        """Choose "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path, height: int) -> None:
        """Write what the page looks like, down to so many pixels."""
        size = (await self.send("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height), "scale": 1}
        shot = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        await trio.Path(path.parent).mkdir(parents=True, exist_ok=True)
        await trio.Path(path).write_bytes(small_png(base64.b64decode(shot["data"])))


def found_browser() -> str | None:
    """Return the program of a browser; None: there is none."""
    direct = Path("/usr/lib/chromium/chromium")
    return str(direct) if direct.exists() else next(filter(None, map(shutil.which, BROWSERS)), None)


@asynccontextmanager
async def running_browser(folder: Path) -> AsyncIterator[Browser]:
    """Run a browser with its files in `folder`."""
    program = found_browser()
    assert program is not None, "install chromium"
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (their_in, their_out)]
    command = [
        "bash", "-c", f'exec "$@" 3<&{high[0]} 4>&{high[1]} {high[0]}<&- {high[1]}>&-', "sh",
        program, *_FLAGS, f"--user-data-dir={folder}",
    ]  # fmt: skip
    with (folder.parent / "browser.log").open("wb") as log:
        process = await trio.lowlevel.open_process(command, pass_fds=high, stdout=log, stderr=log)
    for fd in (their_in, their_out, *high):
        os.close(fd)
    async with (
        trio.lowlevel.FdStream(our_out) as out,
        trio.lowlevel.FdStream(our_in) as into,
        trio.open_nursery() as nursery,
    ):
        browser = Browser(out, into)
        nursery.start_soon(browser.run)
        try:
            yield browser
        finally:
            nursery.cancel_scope.cancel()
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
