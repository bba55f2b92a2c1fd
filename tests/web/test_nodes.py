"""The page of real nodes: what it can do, what it cannot, and that no kill is noticed."""

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import spacedrive_node.node as node_module
from spacedrive_node.config.page_token import PageTokenError, read_token
from spacedrive_node.node import page_spec
from spacedrive_node.tests.harness.node_commands import sdnode_up
from spacedrive_node.tests.harness.nodes import DEADLINE, pair, running_node, two_nodes
from spacedrive_node.tests.harness.raw_http import Events, PageClient

WEB = "127.0.0.1:0"
OWN_TOKEN = "of-my-own-0123456789abcdefghijkl"


def new_key() -> str:
    return os.urandom(16).hex()


async def started(page: PageClient, path: str, **body: Any) -> str:
    answer = await page.post(f"/api/{path}", {"key": new_key(), **body})
    assert answer.status == 200, answer.body
    return str(answer.json["session"])


async def accept(page: PageClient, events: Events, session: str) -> dict[str, Any]:
    """Wait for the device, accept it, and return the last state."""
    state = await events.until("session", session=session)
    while state["device"] is None:
        state = await events.until("session", session=session)
    decision = {"session": session, "accept": True, "public_key": state["device"]["public_key"]}
    assert (await page.post("/api/decide", {"key": new_key(), **decision})).status == 200
    while state["outcome"] is None:
        state = await events.until("session", session=session)
    return dict(state)


async def test_two_nodes_pair_through_their_pages(tmp_path: Path) -> None:
    """Words, QR code, stages, check values, acceptance; then the device is listed, renamed and revoked."""
    async with two_nodes(tmp_path, web=WEB) as (a, b):
        with trio.fail_after(DEADLINE):
            async with a.page.events() as at_a, b.page.events() as at_b:
                showing = await started(a.page, "start")
                shown = await at_a.until("session", session=showing)
                assert len(shown["words"]) == 12
                assert 0 < shown["expires_in"] <= 300
                while shown["qr"] is None:  # it follows in a moment
                    shown = await at_a.until("session", session=showing)
                assert shown["qr"]["path"].startswith("M4 4h7v1h-7z")  # the corner, within its margin
                joining = await started(b.page, "join", code=" ".join(shown["words"]))
                ends: list[dict[str, Any]] = []

                async def run(page: PageClient, events: Events, session: str) -> None:
                    ends.append(await accept(page, events, session))

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run, a.page, at_a, showing)
                    nursery.start_soon(run, b.page, at_b, joining)
                assert {end["outcome"] for end in ends} == {"paired"}
                assert len({end["fingerprint"] for end in ends}) == len({end["check"] for end in ends}) == 1
                assert {end["words"] for end in ends} == {None}
                device = (await at_a.until("devices", total=1))["devices"][0]
                assert (device["name"], device["state"]) == ("bruno", "paired")
                change = {"key": new_key(), "device": device["id"]}
                assert (await a.page.post("/api/rename", {**change, "name": "kitchen"})).status == 200
                assert (await at_a.until("devices", total=1))["devices"][0]["name"] == "kitchen"
                refused = await a.page.post("/api/rename", {**change, "key": new_key(), "name": "\u0007"})
                assert (refused.status, refused.json["error"]) == (422, "invalid_name")
                assert (await a.page.post("/api/forget", {**change, "key": new_key()})).status == 200
                await at_a.until("devices", total=0)
                assert await a.client.devices() == []
                gone = await a.page.post("/api/forget", {**change, "key": new_key()})
                assert (gone.status, gone.json["error"]) == (404, "no_such_device")
                # Once more, and now A refuses.
                showing = await started(a.page, "start")
                shown = await at_a.until("session", session=showing)
                joining = await started(b.page, "join", code=" ".join(shown["words"]))
                while shown["device"] is None:
                    shown = await at_a.until("session", session=showing)
                refusal = {"session": showing, "accept": False, "public_key": shown["device"]["public_key"]}
                assert (await a.page.post("/api/decide", {"key": new_key(), **refusal})).status == 200
                assert (await at_a.until("session", session=showing, outcome="rejected"))[
                    "fingerprint"
                ] is None
                await at_b.until("session", session=joining, outcome="rejected")
                assert await a.client.devices() == []


async def test_what_others_do_is_seen_and_can_be_decided(tmp_path: Path) -> None:
    """A pairing that the command line began is on the page; a wrong code says why it is one."""
    async with running_node(tmp_path, "anna", web=WEB) as a:
        with trio.fail_after(DEADLINE):
            async with a.page.events() as events:
                assert (await events.until("status", ready=True))["name"] == "anna"
                actors = {row["actor"] for row in (await events.until("processes"))["processes"]}
                assert {"supervisor", "zygote", "vault", "gateway", "swarm", "web"} <= actors
                pairing = await a.client.start_pairing()
                await events.until("session", session=pairing.id)
                refused = await a.page.post("/api/join", {"key": new_key(), "code": "twelve words"})
                assert (refused.status, refused.json["error"]) == (422, "bad_code")
                early = {"key": new_key(), "session": pairing.id, "accept": True, "public_key": "0" * 64}
                refused = await a.page.post("/api/decide", early)
                assert (refused.status, refused.json["error"]) == (409, "not_deciding")
                await a.page.post("/api/cancel", {"key": new_key(), "session": pairing.id})
                await events.until("session", session=pairing.id, outcome="cancelled")


async def test_what_others_do_to_devices_is_seen_at_once(tmp_path: Path) -> None:
    """A pairing, a new name and a revocation by another client are on each page, before and after kills."""
    async with two_nodes(tmp_path, web=WEB) as (a, b):
        with trio.fail_after(DEADLINE):
            async with a.page.events() as first, a.page.events() as second:

                async def shown(total: int, **values: str) -> None:
                    for events in (first, second):
                        rows = (await events.until("devices", total=total))["devices"]
                        while not all(values.items() <= row.items() for row in rows):
                            rows = (await events.until("devices", total=total))["devices"]

                await shown(0)
                await pair(a, b)
                await shown(1, name="bruno", state="paired")
                (device,) = await a.client.devices()
                await a.client.rename(device.device_id, "kitchen")
                await shown(1, name="kitchen")
                os.kill((await a.pids())["gateway"], signal.SIGKILL)
                await a.client.rename(device.device_id, "attic")
                await shown(1, name="attic")
                os.kill((await a.pids())["vault"], signal.SIGKILL)
                await a.client.forget(device.device_id)
                await shown(0)


async def test_kills_are_not_noticed(tmp_path: Path) -> None:
    """The token stays valid, what was asked for takes effect once, and the page shows the same session."""
    async with running_node(tmp_path, "anna", web=WEB) as a:
        with trio.fail_after(DEADLINE):
            key = new_key()
            first = (await a.page.post("/api/start", {"key": key})).json["session"]
            for victim in ("web", "gateway", "zygote"):
                async with a.page.events() as events:
                    words = (await events.until("session", session=first))["words"]
                    pid = (await a.pids())[victim]
                    os.kill(pid, signal.SIGKILL)
                    if victim == "gateway":  # the page's connection is web's, and web lives
                        while (await a.pids()).get(victim) in (pid, 0):
                            await trio.lowlevel.checkpoint()
                    else:
                        await events.end()
                # The listening socket is the supervisor's: whoever connects meanwhile waits.
                assert (await a.page.post("/api/start", {"key": key})).json["session"] == first
                async with a.page.events() as events:
                    assert (await events.until("session", session=first))["words"] == words
            assert [state.session for state in await a.client.sessions()] == [first]


async def test_a_page_that_keeps_dying_is_given_up_and_the_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is no part of what makes a node: without it the node is ready, and pairs."""
    impatient = partial(replace, intensity=(2, 60.0))
    monkeypatch.setattr(node_module, "page_spec", lambda *given: impatient(page_spec(*given)))
    async with running_node(tmp_path, "anna", web=WEB) as a:
        with trio.fail_after(DEADLINE):
            while not any(line[:1] + line[2:3] == ("web", "given up") for line in a.logs):
                if pid := (await a.pids()).get("web"):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            assert (await a.client.status()).ready
            await a.client.start_pairing()


@pytest.mark.parametrize("web", [None, WEB])
async def test_without_the_setting_there_is_no_page(tmp_path: Path, web: str | None) -> None:
    """No process, and nothing of it imported in the fork server: what it costs then is nothing."""
    async with running_node(tmp_path, "anna", web=web) as a:
        assert ("web" in await a.pids()) == (web is not None)
        assert (a.ready.page is None, a.ready.page_token is None) == (web is None, web is None)
        code = "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]; print(*sys.modules)"
        done = await trio.run_process(
            [sys.executable, "-P", "-c", code, *a.spawner.preloaded], capture_stdout=True
        )
        loaded = done.stdout.decode().split()
        assert "spacedrive_node.actors.session" in loaded
        of_page = {
            name for name in loaded if name.startswith("spacedrive_node.actors.web") or name == "segno"
        }
        assert bool(of_page) == (web is not None), of_page


def test_the_token_is_printed_once_and_nowhere_else(short_path: Path) -> None:
    """Not in arguments, environments, titles, logs or metrics; the sweep searches the files and logs."""
    with sdnode_up(short_path, "anna", "--web", WEB) as a:
        token = str(a.ready["page_token"]).encode()
        assert len(token) == 43
        pids = [row["pid"] for row in a.run("actors")]
        assert len(pids) >= 8
        for pid in pids:
            for name in ("cmdline", "environ", "comm"):
                assert token not in Path(f"/proc/{pid}/{name}").read_bytes()


def test_the_token_of_a_file_is_not_printed_and_outlives_a_reload(short_path: Path) -> None:
    """For a service, whose output is a journal; a file that others can read is warned of.

    A reload starts the gateway again, with other settings, and leaves the page as it is.
    """
    token, file = short_path / "token", short_path / "node.toml"
    token.write_text(OWN_TOKEN + "\n")
    token.chmod(0o644)
    settings = f'web = "{WEB}"\nweb-token-file = "token"\ncode-lifetime = '
    file.write_text(settings + "300\n")
    with sdnode_up(short_path, "anna", "--config", str(file)) as a:
        assert "page_token" not in a.ready
        assert "page token is readable by all users" in a.log()
        page = PageClient(int(str(a.ready["page"]).rstrip("/").rpartition(":")[2]), OWN_TOKEN)
        before = {row["actor"]: row["pid"] for row in a.run("actors")}
        file.write_text(settings + "600\n")
        a.run("reload")
        after = {row["actor"]: row["pid"] for row in a.run("actors")}
        assert before["web"] == after["web"]
        assert before["gateway"] != after["gateway"]

        async def shown() -> dict[str, Any]:
            with trio.fail_after(DEADLINE):
                async with page.events() as events:
                    session = await started(page, "start")
                    return dict(await events.until("session", session=session))

        assert trio.run(shown)["expires_in"] > 500
        assert OWN_TOKEN not in a.log()


@pytest.mark.parametrize("content", ["", "short\n", "x" * 300, "blank in the middle of it all", "é" * 30])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    """It keeps the node from starting; what the file holds is not quoted."""
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(PageTokenError, match="holds no token for the page") as failure:
        read_token(str(file))
    assert not content or content.strip() not in str(failure.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PageTokenError, match=r"cannot be read from .*/token: No such file"):
        read_token(str(tmp_path / "token"))
