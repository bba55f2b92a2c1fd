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
