"""Actors are killed beneath an open page: it says so, connects again by itself, and loses nothing."""

import os
import signal
from pathlib import Path

import trio

from spacedrive_node.tests.harness.browser import Browser
from spacedrive_node.tests.harness.node_page import open_node_page
from spacedrive_node.tests.harness.nodes import DEADLINE, running_node

CONNECTION = "document.getElementById('connection').textContent"
WORDS = "[...document.querySelectorAll('.words li')].map(li => li.textContent).join(' ')"


async def test_a_node_that_was_started_again_has_no_former_pairing(browser: Browser, tmp_path: Path) -> None:
    """With the token of its file the page goes on by itself: nobody waits before words that mean nothing."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdefghijklmnopqrstuv\n")
    page = await browser.open_page()
    port = 0
    with trio.fail_after(3 * DEADLINE):
        for start in (1, 2):
            async with running_node(
                tmp_path, "anna", web=f"127.0.0.1:{port}", web_token_file=str(token)
            ) as a:
                if start == 1:
                    port = int(str(a.ready.page).rstrip("/").rpartition(":")[2])
                    await page.goto(f"{a.ready.page}#{token.read_text().strip()}")
                    await page.tab_to("#start")
                    await page.press("Enter")
                    await page.wait_for(WORDS)
                else:
                    await page.wait_for("document.querySelectorAll('#sessions li').length === 0")
                    assert await page.evaluate("document.getElementById('no-sessions').hidden") is False


async def test_what_the_node_refuses_is_seen(browser: Browser, tmp_path: Path) -> None:
    """Not only heard: by who looks at the page, wherever it is scrolled to; until the next thing is done."""
    problem = "document.getElementById('problem')"
    async with running_node(tmp_path, "anna", web="127.0.0.1:0", max_sessions=1) as a:
        with trio.fail_after(3 * DEADLINE):
            page = await open_node_page(browser, a)
            await page.tab_to("#start")
            await page.press("Enter")
            await page.wait_for("document.activeElement.matches('#sessions h3')")
            await page.tab_to("#start")
            await page.press("Enter")
            await page.wait_for(f"{problem}.textContent.includes('later')")
            await page.evaluate("scrollTo(0, document.body.scrollHeight); 0")
            seen = await page.evaluate(
                f"(() => {{ const at = {problem}.getBoundingClientRect();"
                " return at.height > 10 && at.width > 100 && at.top >= 0 && at.bottom <= innerHeight; })()"
            )
            assert seen
            await page.tab_to("[data-action=cancel]")
            await page.press("Enter")
            await page.wait_for(f"{problem}.textContent === ''")


async def test_a_page_outlives_web_and_gateway(browser: Browser, tmp_path: Path) -> None:
    """The same pairing with the same words stays; a button pressed right after a kill takes effect once."""
    async with running_node(tmp_path, "anna", web="127.0.0.1:0") as a:
        with trio.fail_after(3 * DEADLINE):
            page = await open_node_page(browser, a)
            await page.tab_to("#start")
            await page.press("Enter")
            words = await page.wait_for(WORDS)
            for count, victim in enumerate(("web", "gateway", "zygote"), start=2):
                pid = (await a.pids())[victim]
                # The page notes each text of its connection.
                await page.evaluate(
                    "globalThis.said = []; new MutationObserver(() => said.push("
                    f"{CONNECTION})).observe(document.getElementById('connection'), {{childList: true}}); 0"
                )
                os.kill(pid, signal.SIGKILL)
                await page.tab_to("#start")
                await page.press("Enter")
                await page.wait_for(f"document.querySelectorAll('#sessions .words').length === {count}")
                if victim != "gateway":  # whose end web hides
                    await page.wait_for(
                        "said.some(text => text.includes('lost')) && said.at(-1) === 'Connected.'"
                    )
                await page.wait_for(f"{CONNECTION} === 'Connected.'")
                assert words in await page.evaluate(WORDS)
            assert len(await a.client.sessions()) == 4
            assert not [line for line in page.problems if "Failed to load resource" not in line]
