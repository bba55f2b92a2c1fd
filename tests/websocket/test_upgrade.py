"""The HTTP request with which a WebSocket begins: what is accepted, and how all else is refused. Pure."""

import os
import random

import pytest

from spacedrive_node.actors.swarm.websocket.http_upgrade import (
    BAD_REQUEST,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    NOT_FOUND,
    ClientUpgrade,
    RefusedRequestError,
    ServerUpgrade,
)
from spacedrive_node.actors.swarm.websocket.wire import WebSocketError
from spacedrive_node.tests.harness.websocket_hosts import KEY, request

GOOD = request()
FUZZ = int(os.environ.get("FUZZ", "3000"))


def refusal(data: bytes, path: str = "/") -> bytes:
    upgrade = ServerUpgrade(path)
    with pytest.raises(RefusedRequestError) as caught:
        upgrade.receive(data)
    return caught.value.answer


def test_the_example_of_the_rfc() -> None:
    """Whole, and byte by byte."""
    for pieces in ([GOOD], [GOOD[at : at + 1] for at in range(len(GOOD))]):
        upgrade = ServerUpgrade("/")
        assert [upgrade.receive(piece) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        answer = upgrade.accept()
        assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
        assert b"xtension" not in answer


def test_a_request_is_bounded_also_when_it_comes_in_parts() -> None:
    """One that is too long is refused, complete or not."""
    asked = request("/", *["x: " + "y" * 1000] * 18)
    upgrade = ServerUpgrade("/")
    assert not upgrade.receive(asked[:MAX_HEAD_BYTES])
    with pytest.raises(RefusedRequestError) as caught:
        upgrade.receive(asked[MAX_HEAD_BYTES:])
    assert caught.value.answer == BAD_REQUEST


def test_client_and_server_agree() -> None:
    """What came with the answer is kept."""
    client, server = ClientUpgrade("example.org"), ServerUpgrade("/")
    assert server.receive(client.request())
    answer = server.accept()
    assert client.receive(answer[:20]) is None
    assert client.receive(answer[20:] + b"\x82\x01x") == b"\x82\x01x"


def test_browsers_and_proxies_ask_in_other_words() -> None:
    """More tokens, capital letters, cookies, extensions that are offered, and a query."""
    asked = request("/?x=1", "Origin: https://example.org", "Cookie: " + "c" * 8000,
                    "Sec-WebSocket-Extensions: permessage-deflate", "X-Forwarded-For: 192.0.2.1",
                    "x-forwarded-for: 192.0.2.2")  # fmt: skip
    asked = asked.replace(b"Connection: Upgrade", b"Connection: keep-alive, upgrade")
    asked = asked.replace(b"Upgrade: websocket", b"Upgrade: WebSocket")
    upgrade = ServerUpgrade("/")
    assert upgrade.receive(asked)
    assert upgrade.forwarded == [b"192.0.2.1", b"192.0.2.2"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"GET / ", b"GET /p2p "),
        (b"GET / ", b"GET //"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Upgrade: websocket\r\n", b""),
        (b"Connection: Upgrade\r\n", b""),
        (b"Version: 13", b"Version: 8"),
        (b"Sec-WebSocket-Version: 13\r\n", b""),
        (KEY.encode(), b""),
        (KEY.encode(), b"k" * 100),
        (b"Sec-WebSocket-Key:", b"Sec-WebSocket-Key: again\r\nSec-WebSocket-Key:"),
    ],
)
def test_every_other_request_gets_the_same_answer(old: bytes, new: bytes) -> None:
    """So that nobody learns what is there, or that another path is the right one."""
    asked = GOOD.replace(old, new, 1).replace(b"GET //HTTP", b"GET // HTTP")
    assert asked != GOOD
    assert refusal(asked) == NOT_FOUND


def test_only_the_configured_path_is_served() -> None:
    """And `/` is not it."""
    assert ServerUpgrade("/p2p").receive(request("/p2p"))
    for path in ("/", "/p2p/", "/P2P", "/p2"):
        assert refusal(request(path), "/p2p") == NOT_FOUND


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\x13/multistream/1.0.0\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n" + b"a" * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MAX_HEAD_BYTES // 6 + 1),
        request("/", *["x: y"] * MAX_HEADERS),
        request("/", "Content-Length: nine"),
        GOOD + b"\x82\x80mask",
        GOOD.replace(b"Host: test", b"Host: te\x00st"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    """Too long, too many lines, bytes before the answer, other protocols, the end."""
    assert refusal(data) == BAD_REQUEST


def test_answers_tell_nothing() -> None:
    """Neither the program nor its version, and no body."""
    for answer in (NOT_FOUND, BAD_REQUEST):
        head = answer.decode().splitlines()
        assert head[1:] == ["Content-Length: 0", "Connection: close", ""]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"101 Switching Protocols", b"200 OK"),
        (b"101 Switching Protocols", b"100 Continue"),
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"),
        (
            b"Sec-WebSocket-Accept: ",
            b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: ",
        ),
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: "),
        (b"HTTP/1.1", b"SSH-2.0"),
        (b"\r\n\r\n", b"\r\nx: " + b"y" * MAX_HEAD_BYTES),
    ],
)
def test_a_client_takes_no_other_answer(old: bytes, new: bytes) -> None:
    """Another status, another nonce, what was not asked for, no end."""
    client, server = ClientUpgrade("example.org"), ServerUpgrade("/")
    server.receive(client.request())
    answer = server.accept().replace(old, new, 1)
    with pytest.raises(WebSocketError):
        assert client.receive(answer) is not None


def test_a_client_notices_the_end() -> None:
    """Nothing comes any more."""
    client = ClientUpgrade("example.org")
    client.request()
    with pytest.raises(WebSocketError):
        client.receive(b"")


def test_hostile_bytes_end_in_a_refusal() -> None:
    """Random changes of a request and of an answer raise nothing else."""
    chance = random.Random(13)
    client, server = ClientUpgrade("example.org"), ServerUpgrade("/")
    server.receive(client.request())
    answer = server.accept()
    for _ in range(FUZZ):
        for good, sides in ((GOOD, ServerUpgrade("/")), (answer, ClientUpgrade("example.org"))):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(data))
                data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
            if isinstance(sides, ClientUpgrade):
                sides.request()
            try:
                sides.receive(bytes(data))
            except WebSocketError:
                continue
