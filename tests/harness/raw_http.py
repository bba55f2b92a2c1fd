"""An HTTP client that sends exactly the bytes and headers that a test names, as no browser would."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import trio


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def read_answer(stream: trio.abc.ReceiveStream) -> Answer:
    """Read one answer up to the end of the connection."""
    data = b""
    try:
        while part := await stream.receive_some(65536):
            data += part
    except trio.BrokenResourceError:
        pass  # reset after what had been sent
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return Answer(int(lines[0].split()[1]), {name.lower(): text for name, text in headers.items()}, body)


async def send_raw(port: int, data: bytes) -> Answer:
    """Send bytes and return the answer."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with suppress(trio.BrokenResourceError):  # the server had enough
            await stream.send_all(data)
        return await read_answer(stream)


def request_bytes(
    method: str, path: str, headers: dict[str, str | None], body: bytes = b"", *, close: bool = True
) -> bytes:
    """Return a request; a header whose value is None is left out."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items() if text)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class PageClient:
    """Does what the page does: with its token, its origin, and its keys."""

    port: int
    token: str

    def headers(self, **changes: str | None) -> dict[str, str | None]:
        host = f"127.0.0.1:{self.port}"
        own: dict[str, str | None] = {
            "Host": host,
            "Origin": f"http://{host}",
            "Sec-Fetch-Site": "same-origin",
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
        }
        return own | {name.replace("_", "-"): text for name, text in changes.items()}

    async def get(self, path: str, **changes: str | None) -> Answer:
        return await send_raw(self.port, request_bytes("GET", path, self.headers(**changes)))

    async def post(self, path: str, body: dict[str, Any], **changes: str | None) -> Answer:
        data = json.dumps(body).encode()
        return await send_raw(self.port, request_bytes("POST", path, self.headers(**changes), data))

    @asynccontextmanager
    async def events(self) -> AsyncIterator["Events"]:
        """Open the stream of events."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all(request_bytes("GET", "/api/events", self.headers(), close=False))
            yield Events(stream)


class Events:
    """The events of one open page."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self.stream = stream
        self.head = b""
        self._raw = b""
        self._text = b""

    async def next(self) -> tuple[str, Any]:
        """Return the next event. Raises trio.EndOfChannel at the end of the stream."""
        while True:
            event, found, rest = self._text.partition(b"\n\n")
            if not found:
                await self._read()
                continue
            self._text = rest
            lines = dict(line.split(b": ", 1) for line in event.split(b"\n") if not line.startswith(b":"))
            if lines:
                return lines[b"event"].decode(), json.loads(lines[b"data"])

    async def until(self, name: str, **wanted: Any) -> Any:
        """Return the body of the first event of that name that has these values."""
        while True:
            found, body = await self.next()
            if found == name and all(body[key] == value for key, value in wanted.items()):
                return body

    async def end(self) -> int:
        """Read to the end of the stream; return how many events came before it."""
        count = 0
        with suppress(trio.EndOfChannel, trio.BrokenResourceError):
            while True:
                await self.next()
                count += 1
        return count

    async def _read(self) -> None:
        """Read some chunks of the transfer coding."""
        while True:
            if not self.head and b"\r\n\r\n" in self._raw:
                self.head, _, self._raw = self._raw.partition(b"\r\n\r\n")
            if self.head:
                size, found, rest = self._raw.partition(b"\r\n")
                length = int(size, 16) if found else 0
                if found and len(rest) >= length + 2:
                    if length == 0:
                        raise trio.EndOfChannel
                    self._text += rest[:length]
                    self._raw = rest[length + 2 :]
                    return
            data = await self.stream.receive_some(65536)
            if not data:
                raise trio.EndOfChannel
            self._raw += data
