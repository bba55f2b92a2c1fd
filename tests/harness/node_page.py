"""Opens the page of a node in a browser, as its user does: with the link that the node has printed."""

from spacedrive_node.tests.harness.browser import Browser, Page
from spacedrive_node.tests.harness.nodes import Node

IS_READY = "document.getElementById('status').textContent.includes('ready')"


async def open_node_page(browser: Browser, node: Node) -> Page:
    """Open the link that the node has printed, and see that the token is in the address no more."""
    page = await browser.open_page()
    assert node.ready.page is not None
    await page.goto(f"{node.ready.page}#{node.ready.page_token}")
    await page.wait_for(IS_READY)
    assert await page.evaluate("[location.href, history.length]") == [node.ready.page, 2]  # with about:blank
    history = await page.send("Page.getNavigationHistory")
    # What was typed the browser keeps beside that for its own use (docs/security.md, "The page").
    assert not any(str(node.ready.page_token) in entry["url"] for entry in history["entries"])
    return page
