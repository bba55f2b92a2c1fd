"""From a request of the page to what the node is asked, and from its reply to the answer.

Owns the paths and the bodies. Each change carries a key of 16 random bytes, chosen by the page, so that the
page can repeat it when it got no answer. Who may ask is access.py's. Never decides about a device: the page
sends the user's decision with the key of the device that was shown.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...messages import control_protocol as c
from ...messages.secret_struct import RedactedStruct
from ...messages.types import DeviceName, SessionId
from ..http_server import Request, Response
from .access import refusal
from .event_stream import EventStreams
from .gateway_client import GatewayClient, RefusedError
from .page_files import FILES

MAX_BODY_BYTES = 8 * 1024
_JSON = "application/json"
_EVENTS = "text/event-stream"
_Hex16 = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
_Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_STATUS_BY_CODE: dict[c.ErrorCode, int] = {
    "bad_request": 400,
    "bad_code": 422,
    "invalid_name": 422,
    "no_such_session": 404,
    "no_such_device": 404,
    "already_decided": 409,
    "not_deciding": 409,
    "busy": 503,
    "not_ready": 503,
    "stopping": 503,
    "internal": 500,
}


class StartBody(RedactedStruct, frozen=True):
    """Show a code."""

    key: _Hex16


class JoinBody(RedactedStruct, frozen=True):
    """Enter a code: twelve words, or the text of a QR code."""

    _secret = frozenset({"code"})

    key: _Hex16
    code: Annotated[str, Meta(max_length=4096)]


class DecideBody(RedactedStruct, frozen=True):
    """Accept or refuse the device with that key, which the page has shown."""

    key: _Hex16
    session: SessionId
    accept: bool
    public_key: _Hex32


class CancelBody(RedactedStruct, frozen=True):
    """Give a pairing up."""

    key: _Hex16
    session: SessionId


class RenameBody(RedactedStruct, frozen=True):
    """Give a device another name."""

    key: _Hex16
    device: _Hex16
    name: DeviceName


class ForgetBody(RedactedStruct, frozen=True):
    """Trust a device no longer."""

    key: _Hex16
    device: _Hex16


Body = Any


class Routes:
    """Answers every request of a browser."""

    def __init__(self, client: GatewayClient, streams: EventStreams, token_digest: str) -> None:
        self._client = client
        self._streams = streams
        self._token_digest = token_digest
        self._changes: dict[bytes, tuple[type[Body], Callable[[Body], Awaitable[Body]]]] = {
            b"/api/start": (StartBody, self._start),
            b"/api/join": (JoinBody, self._join),
            b"/api/decide": (DecideBody, self._decide),
            b"/api/cancel": (CancelBody, self._cancel),
            b"/api/rename": (RenameBody, self._rename),
            b"/api/forget": (ForgetBody, self._forget),
        }

    async def answer(self, request: Request) -> Response:
        """Return the response to any request."""
        path = request.path
        refused = refusal(request, is_call=path.startswith(b"/api/"), token_digest=self._token_digest)
        if refused is not None:
            return refused
        if path in FILES:
            if request.method not in (b"GET", b"HEAD"):
                return _only("GET, HEAD")
            return Response(200, *FILES[path])
        if path == b"/api/events":
            if request.method != b"GET":
                return _only("GET")
            return Response(200, content_type=_EVENTS, stream=self._streams.stream)
        if path in self._changes:
            if request.method != b"POST":
                return _only("POST")
            return await self._change(request, *self._changes[path])
        return Response(404, b"no such page\n")

    async def _change(
        self, request: Request, body: type[Body], carry_out: Callable[[Body], Awaitable[Body]]
    ) -> Response:
        # No form of another page can be of this type without a question beforehand, which is not answered.
        if request.header(b"content-type") != _JSON.encode():
            return Response(415, b"only application/json\n")
        try:
            decoded = msgspec.json.decode(request.body, type=body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _refused(RefusedError("bad_request", "a value is out of its bounds"))
        try:
            answer = await carry_out(decoded)
        except RefusedError as error:
            return _refused(error)
        return Response(200, msgspec.json.encode(answer), _JSON)

    async def _start(self, body: StartBody) -> Body:
        key = bytes.fromhex(body.key)
        reply = await self._client.call(c.SessionStarted, lambda id: c.StartPairing(id, key))
        return {"session": reply.session}

    async def _join(self, body: JoinBody) -> Body:
        key = bytes.fromhex(body.key)
        reply = await self._client.call(c.SessionStarted, lambda id: c.JoinPairing(id, key, body.code))
        return {"session": reply.session}

    async def _decide(self, body: DecideBody) -> Body:
        key, shown = bytes.fromhex(body.key), bytes.fromhex(body.public_key)
        await self._client.call(c.Done, lambda id: c.Decide(id, key, body.session, body.accept, shown))
        return {}

    async def _cancel(self, body: CancelBody) -> Body:
        key = bytes.fromhex(body.key)
        await self._client.call(c.Done, lambda id: c.CancelPairing(id, key, body.session))
        return {}

    async def _rename(self, body: RenameBody) -> Body:
        key, device = bytes.fromhex(body.key), bytes.fromhex(body.device)
        await self._client.call(c.Done, lambda id: c.RenameDevice(id, key, device, body.name))
        return {}

    async def _forget(self, body: ForgetBody) -> Body:
        key, device = bytes.fromhex(body.key), bytes.fromhex(body.device)
        await self._client.call(c.Done, lambda id: c.ForgetDevice(id, key, device))
        return {}


def _only(methods: str) -> Response:
    return Response(405, f"only {methods}\n".encode(), headers=(("Allow", methods),))


def _refused(error: RefusedError) -> Response:
    body = msgspec.json.encode({"error": error.code, "message": error.message})
    return Response(_STATUS_BY_CODE[error.code], body, _JSON)
