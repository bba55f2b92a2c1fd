"""What watching costs is bounded: nothing without a page, few messages, no QR code that nobody sees."""

from math import inf

import pytest

from spacedrive_node.actors.web import gateway_client, shown_sessions, watcher
from spacedrive_node.actors.web.page_json import qr_path
from spacedrive_node.messages.control_protocol import SessionState
from spacedrive_node.tests.harness.fake_node import device
from spacedrive_node.tests.harness.web_actor import running_web

FIRST, SECOND = "0" * 16, "1" * 16
WORDS = " ".join(["abandon"] * 12)


async def test_without_an_open_page_nothing_is_heard() -> None:
    """The subscription comes with the first page and goes with the last; what it showed is not kept."""
    async with running_web() as web:
        assert (await web.post("/api/start", {"key": "0" * 32})).status == 200
        assert (len(web.connections), web.subscriptions) == (1, 0)
        async with web.events() as first, web.events() as second:
            await web.send_state(SessionState(FIRST, "joiner", "searching"))
            await first.until("session", session=FIRST)
            await second.until("session", session=FIRST)
            assert (len(web.connections), web.subscriptions) == (1, 1)
        await web.post("/api/start", {"key": "0" * 32})
        await web.wait_until(lambda: len(web.connections) == 2)
        assert web.subscriptions == 0
        async with web.events() as events:
            await web.send_state(SessionState(SECOND, "joiner", "searching"))
            assert (await events.until("session"))["session"] == SECOND
            assert (len(web.connections), web.subscriptions) == (2, 1)


async def test_devices_are_listed_when_they_have_changed_and_not_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once for all pages, at the first of them; many changes have one list; without a page there is none."""
    monkeypatch.setattr(watcher, "DEVICES_SECONDS", 0.05)
    monkeypatch.setattr(gateway_client, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(gateway_client, "LONGEST_PAUSE_SECONDS", 0.01)
    async with running_web() as web:
        async with web.events() as first, web.events() as second:
            for events in (first, second):
                await events.until("devices", total=0)
            assert (web.watches, web.device_lists) == (1, 1)
            web.devices = (device(1, "attic"),)
            await web.send_device_change()
            for events in (first, second):
                assert (await events.until("devices", total=1))["devices"][0]["name"] == "attic"
            assert (web.watches, web.device_lists) == (1, 2)
            web.devices = ()
            await web.send_device_change(200)
            await first.until("devices", total=0)
            assert web.device_lists == 3
        await web.post("/api/start", {"key": "0" * 32})
        await web.wait_until(lambda: len(web.connections) == 2)
        assert web.watches == 0


async def test_a_list_that_was_refused_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself after a while; and at once when the gateway says that the vault has its disk again."""
    monkeypatch.setattr(watcher, "DEVICES_SECONDS", 0.02)
    for seconds in (0.02, inf):
        monkeypatch.setattr(watcher, "REFUSED_DEVICES_SECONDS", seconds)
        async with running_web() as web:
            web.devices, web.refused_lists = (device(1, "attic"),), 1
            async with web.events() as events:
                assert (await events.until("answers", answers=False))["message"] == "its disk is full"
                if seconds == inf:
                    await web.send_device_change()
                await events.until("devices", total=1)
                assert web.device_lists == 2


async def test_states_come_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway may send more a moment after a batch of states, and at once when a reply is due."""
    monkeypatch.setattr(gateway_client, "FIRST_PAUSE_SECONDS", inf)
    monkeypatch.setattr(gateway_client, "LONGEST_PAUSE_SECONDS", inf)
    for name in ("STATUS_SECONDS", "PROCESSES_SECONDS", "DEVICES_SECONDS"):
        monkeypatch.setattr(watcher, name, inf)
    async with running_web() as web, web.events() as events:
        missing = {"status", "processes", "devices"}
        while missing:
            missing.discard((await events.next())[0])
        await web.send_state(SessionState(FIRST, "joiner", "searching"))
        await events.until("session", session=FIRST)
        assert web.frames_read < web.frames_sent
        before = web.frames_sent
        assert (await web.post("/api/start", {"key": "0" * 32})).status == 200
        await web.wait_until(lambda: web.frames_read == before)


async def test_a_qr_code_is_drawn_for_a_code_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are shown at once. A code that is used meanwhile is not drawn; one that stays is, once."""
    monkeypatch.setattr(shown_sessions, "DRAWING_SECONDS", 0.01)
    drawn = []

    def draw(text: str | None, words: str) -> object:
        drawn.append(text)
        return qr_path(text, words)

    monkeypatch.setattr(shown_sessions, "qr_path", draw)
    async with running_web() as web, web.events() as events:
        used = SessionState(FIRST, "initiator", "waiting", words=WORDS, qr="used")
        await web.send_state(used, SessionState(FIRST, "initiator", "proving"))
        stays = SessionState(SECOND, "initiator", "waiting", words=WORDS, qr="stays")
        await web.send_state(stays)
        shown = await events.until("session", session=SECOND)
        assert (shown["words"], shown["qr"]) == (WORDS.split(), None)
        shown = await events.until("session", session=SECOND)
        assert shown["qr"] == qr_path("stays", WORDS)
        await web.send_state(
            SessionState(SECOND, "initiator", "waiting", words=WORDS, qr="stays", message="again")
        )
        assert (await events.until("session", session=SECOND, message="again"))["qr"] == shown["qr"]
        assert drawn == ["stays"]
