"""Each attack of another page, another host's name or another program on the page of a node is refused."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import pytest
import trio

from spacedrive_node.actors.web.page_files import FILES
from spacedrive_node.tests.harness.raw_http import request_bytes, send_raw
from spacedrive_node.tests.harness.web_actor import TOKEN, WebHost, running_web

KEY = "0" * 32
SESSION = "0" * 16
CHANGES: dict[str, dict[str, object]] = {
    "/api/start": {"key": KEY},
    "/api/join": {"key": KEY, "code": "a b c"},
    "/api/decide": {"key": KEY, "session": SESSION, "accept": True, "public_key": "0" * 64},
    "/api/cancel": {"key": KEY, "session": SESSION},
    "/api/rename": {"key": KEY, "device": KEY, "name": "bruno"},
    "/api/forget": {"key": KEY, "device": KEY},
}
FILE_PATHS = sorted(path.decode() for path in FILES)


@pytest.fixture
async def web() -> AsyncIterator[WebHost]:
    async with running_web() as host:
        yield host


async def statuses(web: WebHost, **changes: str | None) -> dict[str, int]:
    """Make every request that the page makes, with some headers changed; return the status of each."""
    found = {
        path: (await web.get(path, Origin=None) if not changes else await web.get(path, **changes)).status
        for path in FILE_PATHS
    }
    for path, body in CHANGES.items():
        found[path] = (await web.post(path, body, **changes)).status
    answer = await send_raw(web.port, request_bytes("HEAD", "/api/events", web.headers(**changes)))
    found["/api/events"] = answer.status
    return found


async def test_what_the_page_asks_is_answered(web: WebHost) -> None:
    """The base of all tests below: with the right headers every request arrives."""
    found = await statuses(web)
    assert found.pop("/api/events") == 405  # it was asked with HEAD, which is refused last
    assert set(found.values()) == {200}
    assert len(web.requests) == len(CHANGES)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "0.0.0.0",
     "localhost:1:2", "localhost@evil.example", "127.0.0.1 evil.example", "2130706433"],
)  # fmt: skip
async def test_a_name_that_dns_leads_here_is_refused(web: WebHost, host: str) -> None:
    """DNS rebinding: the browser takes the page for one of evil.example, and says so in Host."""
    found = await statuses(web, Host=host, Origin=f"http://{host}")
    assert set(found.values()) <= {421, 400}
    assert web.requests == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:80", "127.8.9.1:7521", "[::1]:7521"])
async def test_the_names_of_this_host_are_its_own(web: WebHost, host: str) -> None:
    """With any port, which a tunnel may have chosen."""
    answer = await web.post("/api/start", {"key": KEY}, Host=host, Origin=f"http://{host}")
    assert answer.status == 200


async def test_no_host_and_two_hosts_are_refused(web: WebHost) -> None:
    assert (await send_raw(web.port, b"GET / HTTP/1.0\r\n\r\n")).status == 421
    assert (await send_raw(web.port, b"GET / HTTP/1.1\r\n\r\n")).status == 400
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert (await send_raw(web.port, two)).status == 400


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://{host}", "http://127.0.0.1:1", "http://{host}.evil.example"],
)
async def test_a_request_of_another_origin_is_refused(web: WebHost, origin: str) -> None:
    """Also one of another port of this host, which a browser calls the same site."""
    found = await statuses(web, Origin=origin.format(host=f"127.0.0.1:{web.port}"))
    assert set(found.values()) == {403}
    assert web.requests == []


async def test_a_change_without_an_origin_is_refused(web: WebHost) -> None:
    """Every browser sends it with every POST."""
    assert {(await web.post(path, body, Origin=None)).status for path, body in CHANGES.items()} == {403}


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_a_request_that_another_site_causes_is_refused(web: WebHost, site: str) -> None:
    """Images, scripts, frames, forms: without Origin, but with the site that caused it."""
    fetched = {"Origin": None, "Sec_Fetch_Site": site, "Sec_Fetch_Mode": "no-cors"}
    for kind in ("script", "image", "iframe", "style", "empty"):
        assert set((await statuses(web, **fetched, Sec_Fetch_Dest=kind)).values()) == {403}
    framed = await web.get(
        "/", Origin=None, Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe"
    )
    assert framed.status == 403
    linked = {
        "Origin": None,
        "Sec_Fetch_Site": site,
        "Sec_Fetch_Mode": "navigate",
        "Sec_Fetch_Dest": "document",
    }
    assert (await web.get("/", **linked)).status == 200  # a link may be anywhere
    assert (await web.get("/api/events", **linked)).status == 403


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN,
     f"Bearer {TOKEN.upper()}", f"Bearer  {TOKEN}", "Bearer " + "x" * 4000],
)  # fmt: skip
async def test_without_the_token_nothing_is_told_or_done(web: WebHost, authorization: str | None) -> None:
    found = await statuses(web, Authorization=authorization)
    assert {status for path, status in found.items() if path.startswith("/api/")} == {401}
    assert {status for path, status in found.items() if not path.startswith("/api/")} == {200}
    assert web.requests == []
    refused = await web.get("/api/events", Authorization=authorization)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")


async def test_the_token_is_taken_from_its_header_only(web: WebHost) -> None:
    """In an address it would get into histories and logs; a cookie would come by itself."""
    assert (await web.get(f"/api/events?token={TOKEN}", Authorization=None)).status == 401
    assert (await web.get("/api/events", Authorization=None, Cookie=f"token={TOKEN}")).status == 401
    answer = await web.get("/")
    assert "set-cookie" not in answer.headers


async def test_no_other_page_is_allowed_to_ask(web: WebHost) -> None:
    """A browser asks before it sends such headers across origins, and gets no permission."""
    asked = {
        "Host": f"127.0.0.1:{web.port}",
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = await send_raw(web.port, request_bytes("OPTIONS", "/api/start", asked))
    assert answer.status == 403
    own = await send_raw(web.port, request_bytes("OPTIONS", "/api/start", web.headers()))
    assert own.status == 405
    for one in (answer, own):
        assert not [name for name in one.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
async def test_what_a_form_could_send_is_refused(web: WebHost, kind: str | None) -> None:
    for path, body in CHANGES.items():
        assert (await web.post(path, body, Content_Type=kind)).status == 415
    assert web.requests == []


async def test_every_answer_has_the_headers_that_protect_it(web: WebHost) -> None:
    """Files, answers, refusals, what is no HTTP, and the stream."""
    answers = [
        await web.get("/"),
        await web.get("/page.js"),
        await web.get("/nothing"),
        await web.get("/", Host="evil.example"),
        await web.get("/api/events", Authorization=None),
        await web.post("/api/start", {"key": KEY}),
        await web.post("/api/start", {"key": "?"}),
        await web.post("/api/join", {"key": KEY, "code": "x" * 9000}),
        await send_raw(web.port, b"nonsense\r\n\r\n"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 404, 421, 401, 200, 400, 413, 400]
    async with web.events() as events:
        await events.next()
        lines = events.head.decode().split("\r\n")[1:]
    found = [answer.headers for answer in answers]
    found.append({name.lower(): text for name, text in (line.split(": ", 1) for line in lines)})
    for headers in found:
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert (
            headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        )


class _Markup(HTMLParser):
    """Collects what the policy would refuse: scripts and styles in the page, handlers, foreign addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._in_script = tag in ("script", "style")
        for name, text in attributes:
            leads_away = name in ("src", "href") and not re.fullmatch(r"[/#][a-z.-]*", text or "")
            if name.startswith("on") or name in ("style", "srcdoc") or leads_away:
                self.wrong.append(f"{tag} {name}={text}")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.wrong.append(data)


def test_the_page_holds_no_script_no_style_and_no_foreign_address() -> None:
    markup = _Markup()
    markup.feed(FILES[b"/"][0].decode())
    assert markup.wrong == []
    for path, (content, _type) in FILES.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*//.*|;? // .*", "", text, flags=re.MULTILINE), path
        for sink in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert sink not in text, path


async def test_a_path_leads_to_no_other_file(web: WebHost) -> None:
    for path in (
        "/../actor.py",
        "/page/page.js",
        "/..%2factor.py",
        "/page.js/",
        "//evil.example/",
        "/api/",
        "/metrics",
    ):
        assert (await web.get(path)).status == 404
    with trio.fail_after(60):
        absolute = request_bytes("GET", "http://evil.example/", web.headers())
        assert (await send_raw(web.port, absolute)).status == 404
