"""The HTTP request with which a WebSocket begins (RFC 6455, 4), on both sides. Sans-IO, over h11.

A server takes one request: GET for the configured path that asks for a WebSocket. Every other complete
request gets the same answer, so that it tells nothing; what is no HTTP gets another. Neither offers nor
accepts extensions and subprotocols. Owns the bounds of a request and of an answer.
"""

from typing import Final

import h11
from wsproto.utilities import generate_accept_token, generate_nonce

from .wire import WebSocketError

MAX_HEAD_BYTES: Final = 16 * 1024
"""Of a request or an answer, until the empty line. Browsers send cookies; proxies take 8 to 16 KiB."""
MAX_HEADERS: Final = 100
_VERSION: Final = b"13"
_MAX_KEY_BYTES: Final = 64

NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class RefusedRequestError(WebSocketError):
    """A request that is refused; `answer` is what its sender gets."""

    def __init__(self, why: str, answer: bytes) -> None:
        super().__init__(why)
        self.answer = answer


class ServerUpgrade:
    """This node's side of a request."""

    def __init__(self, path: str) -> None:
        self._path = path.encode("ascii")
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._received = 0
        self._key = b""
        self.forwarded: list[bytes] = []
        """The values of X-Forwarded-For."""

    def receive(self, data: bytes) -> bool:
        """Take bytes of the peer; return whether the request is complete. Raises RefusedRequestError."""
        self._received += len(data)
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            raise RefusedRequestError("not HTTP", BAD_REQUEST) from None
        is_too_long = self._received - len(self._http.trailing_data[0]) > MAX_HEAD_BYTES
        if event is h11.NEED_DATA and not is_too_long:
            return False
        if not isinstance(event, h11.Request) or is_too_long:
            raise RefusedRequestError("not HTTP", BAD_REQUEST)
        self._check(event)
        return True

    def _check(self, request: h11.Request) -> None:
        if len(request.headers) > MAX_HEADERS:
            raise RefusedRequestError("too many headers", BAD_REQUEST)
        found: dict[bytes, list[bytes]] = {}
        for name, value in request.headers:
            found.setdefault(name, []).append(value)
        is_upgrade = (
            request.method == b"GET"
            and request.http_version == b"1.1"
            and request.target.partition(b"?")[0] == self._path
            and _has_token(found.get(b"connection", []), b"upgrade")
            and _has_token(found.get(b"upgrade", []), b"websocket")
            and found.get(b"sec-websocket-version") == [_VERSION]
        )
        keys = found.get(b"sec-websocket-key", [])
        if not is_upgrade or len(keys) != 1 or not 0 < len(keys[0]) <= _MAX_KEY_BYTES:
            raise RefusedRequestError("another request", NOT_FOUND)
        if self._http.trailing_data[0]:  # nothing may be sent before the answer
            raise RefusedRequestError("bytes before the answer", BAD_REQUEST)
        self._key = keys[0]
        self.forwarded = found.get(b"x-forwarded-for", [])

    def accept(self) -> bytes:
        """Return the answer to a complete request. After it there are frames."""
        headers = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", generate_accept_token(self._key)),
        ]
        response = h11.InformationalResponse(status_code=101, headers=headers, reason=b"Switching Protocols")
        return self._http.send(response) or b""


class ClientUpgrade:
    """The side of a node that dials. `host` is what the header Host says."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._nonce = generate_nonce()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._received = 0

    def request(self) -> bytes:
        """Return the request. The path is always `/`: no address that a stranger names chooses it."""
        headers = [
            (b"Host", self._host.encode("ascii")),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._nonce),
            (b"Sec-WebSocket-Version", _VERSION),
        ]
        return self._http.send(h11.Request(method=b"GET", target=b"/", headers=headers)) or b""

    def receive(self, data: bytes) -> bytes | None:
        """Take bytes of the peer; return None until the answer is there, then what came after it.

        Raises WebSocketError when there will be no WebSocket.
        """
        self._received += len(data)
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            raise WebSocketError("the answer is not HTTP") from None
        is_too_long = self._received - len(self._http.trailing_data[0]) > MAX_HEAD_BYTES
        if event is h11.NEED_DATA and self._received <= MAX_HEAD_BYTES:
            return None
        if not isinstance(event, h11.InformationalResponse) or event.status_code != 101 or is_too_long:
            raise WebSocketError("no WebSocket is served there")
        headers = dict(event.headers)
        names_more = b"sec-websocket-extensions" in headers or b"sec-websocket-protocol" in headers
        if headers.get(b"sec-websocket-accept") != generate_accept_token(self._nonce) or names_more:
            raise WebSocketError("the answer is to another request")
        return bytes(self._http.trailing_data[0])


def _has_token(values: list[bytes], token: bytes) -> bool:
    return any(part.strip().lower() == token for value in values for part in value.split(b","))
