"""What one client can make the page's actor hold is bounded: bytes, time, connections, open pages."""

import json
from contextlib import suppress
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spacedrive_node.actors import http_server
from spacedrive_node.actors.web import event_stream, gateway_client, watcher
from spacedrive_node.messages.control_protocol import Error, SessionState
from spacedrive_node.messages.from_supervisor import ActorRestarted
from spacedrive_node.tests.harness.raw_http import read_answer, request_bytes, send_raw
from spacedrive_node.tests.harness.web_actor import running_web

KEY = "0" * 32
OTHER_KEY = "1" * 32
STATES = 1600
PATHS = ["/api/start", "/api/join", "/api/decide", "/api/cancel", "/api/rename", "/api/forget"]


async def test_a_request_that_is_too_large_is_refused() -> None:
    """Its body, announced or in chunks, and its header."""
    async with running_web() as web:
        assert (await web.post("/api/join", {"key": KEY, "code": "x" * 9000})).status == 413
        chunked = request_bytes("POST", "/api/join", web.headers(Transfer_Encoding="chunked"))
        assert (await send_raw(web.port, chunked + b"2400\r\n" + b" " * 0x2400 + b"\r\n")).status == 413
        header = await web.get("/", Origin=None, Filler="x" * 2 * http_server.MAX_HEADER_BYTES)
        assert header.status == 431
        assert web.requests == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[" * 4000, b"{}", b'{"key":1}', b'"\xff\xff"', b'{"key":"%s","code":""' % KEY.encode(),
     json.dumps({"key": KEY, "code": "a", "more": 1}).encode(), json.dumps({"key": "0" * 31 + "g"}).encode()],
)  # fmt: skip
async def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    async with running_web() as web:
        answer = await send_raw(web.port, request_bytes("POST", "/api/join", web.headers(), body))
        assert (answer.status, answer.json["error"]) == (400, "bad_request")
        assert web.requests == []


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(PATHS))
async def test_any_bytes_are_answered_or_cut_off(raw: bytes, body: bytes, path: str) -> None:
    """As a request and as a body with the token; the actor lives on, and nothing reaches the node."""
    async with running_web() as web:
        async with await trio.open_tcp_stream("127.0.0.1", web.port) as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(raw)
                await stream.send_eof()
                while await stream.receive_some():
                    pass
        answer = await send_raw(web.port, request_bytes("POST", path, web.headers(), body))
        assert answer.status == 400
        assert web.requests == []
        assert (await web.get("/", Origin=None)).status == 200


async def test_a_slow_request_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never ends, in its header or in its body, and one that never begins."""
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.05)
    async with running_web() as web:
        unfinished = request_bytes("POST", "/api/start", web.headers(Content_Length="100"))
        for beginning in (b"", b"GET / HT", unfinished):
            async with await trio.open_tcp_stream("127.0.0.1", web.port) as stream:
                if beginning:
                    await stream.send_all(beginning)
                assert await stream.receive_some() == b""


async def test_connections_lock_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest gives way, but not an open page, which others without a token could close otherwise."""
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 4)
    async with running_web() as web, web.events() as events:
        await events.until("answers", answers=True)
        idle = [await trio.open_tcp_stream("127.0.0.1", web.port) for _ in range(8)]
        assert (await web.post("/api/start", {"key": KEY})).status == 200
        await web.send_state(SessionState("0" * 16, "joiner", "searching"))
        assert (await events.until("session"))["stage"] == "searching"
        for stream in idle:
            await stream.aclose()


async def test_the_oldest_page_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_OPEN_PAGES", 2)
    async with running_web() as web, web.events() as first, web.events() as second:
        await first.until("answers")
        await second.until("answers")
        async with web.events() as third:
            await third.until("answers")
            await first.end()
            await web.send_state(SessionState("0" * 16, "joiner", "searching"))
            await second.until("session")
            await third.until("session")


async def test_a_page_that_does_not_read_is_closed_and_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets no queue: states that it has not read are replaced by newer ones."""
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 1.0)
    async with running_web() as web, web.events() as slow, web.events() as good:
        await slow.next()
        await good.until("answers")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(good.until, "session", message=f"{STATES}"))
            for number in range(STATES + 1):
                text = f"{number}" if number == STATES else "x" * 200
                state = SessionState(
                    f"{number % 1500:016x}", "joiner", "searching", message=text, seconds=number
                )
                await web.send_state(state)
        assert await slow.end() < STATES


async def test_a_page_without_news_hears_that_the_node_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.01)
    async with running_web() as web, web.events() as events:
        await events.next()
        seen = b""
        while seen.count(b": \n\n") < 3:
            seen += await events.stream.receive_some()


async def test_a_gateway_that_was_restarted_gets_again_what_is_open() -> None:
    """A change is sent again with its key; a page that is open notices nothing."""
    async with running_web() as web, web.events() as events:
        await events.until("answers", answers=True)
        web.silent = True
        async with trio.open_nursery() as nursery:
            done = trio.Event()

            async def start() -> None:
                assert (await web.post("/api/start", {"key": OTHER_KEY})).status == 200
                done.set()

            nursery.start_soon(start)
            await web.wait_until(lambda: len(web.requests) == 1)
            web.silent = False
            await web.deliver("supervisor", ActorRestarted("gateway"))
            await done.wait()
        assert len(web.connections) == 2
        assert [request.key.hex() for request in web.requests] == [OTHER_KEY] * 2
        await web.send_state(SessionState("0" * 16, "joiner", "searching"))
        await events.until("session")


async def test_a_gateway_that_does_not_answer_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_client, "REPLY_SECONDS", 0.1)
    monkeypatch.setattr(watcher, "STATUS_SECONDS", 0.1)
    async with running_web() as web:
        web.silent = True
        answer = await web.post("/api/start", {"key": KEY})
        assert (answer.status, answer.json["error"]) == (503, "not_ready")
        async with web.events() as events:
            assert (await events.until("answers"))["answers"] is False
            web.silent = False
            await events.until("answers", answers=True)


async def test_a_refusal_of_the_node_is_passed_on() -> None:
    async with running_web() as web:
        web.silent = True
        async with await trio.open_tcp_stream("127.0.0.1", web.port) as stream:
            body = json.dumps({"key": KEY, "code": "x"}).encode()
            await stream.send_all(request_bytes("POST", "/api/join", web.headers(), body))
            await web.wait_until(lambda: web.requests)
            await web.send(Error(web.requests[0].id, "bad_code", "no word of the list"))
            answer = await read_answer(stream)
        assert (answer.status, answer.json) == (422, {"error": "bad_code", "message": "no word of the list"})
