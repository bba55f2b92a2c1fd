"""Two people pair two nodes, each with a keyboard and a page; what they see is checked by axe-core."""

from pathlib import Path

import trio

from spacedrive_node.tests.harness.browser import Browser, Page
from spacedrive_node.tests.harness.node_page import open_node_page
from spacedrive_node.tests.harness.nodes import DEADLINE, running_node, two_nodes

WEB = "127.0.0.1:0"
CARD = "#sessions > li"
SIZES = {"narrow": 320, "wide": 1280}
HEIGHTS = {"narrow": 1100, "wide": 960}
"""Of pictures."""


async def check(page: Page, axe: str, where: str) -> None:
    """See that axe-core finds nothing wrong, and that nothing is cut off, in both sizes and colours."""
    if not await page.evaluate("'axe' in globalThis"):
        await page.evaluate(f"{axe}; 0")
    for width in SIZES.values():
        await page.resize(width, 800)
        for scheme in ("light", "dark"):
            await page.use_colours(scheme)
            found = await page.evaluate(
                "axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(r => "
                "[...r.violations, ...r.incomplete].map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200))]))"
            )
            assert found == [], (where, width, scheme)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, where
    await page.resize(1100, 800)


async def take_pictures(page: Page, folder: Path, name: str, *looks: str) -> None:
    """Take a picture in each of these sizes and colours."""
    for look in looks:
        size, scheme = look.split("-")
        await page.resize(SIZES[size], 800)
        await page.use_colours(scheme)
        await page.picture(folder / f"page-{name}-{look}.png", HEIGHTS[size])
    await page.resize(1100, 800)


async def start(page: Page) -> list[str]:
    """Have a code shown, by keyboard; return its words."""
    await page.tab_to("#start")
    await page.press("Enter")
    words: list[str] = await page.wait_for(
        "(() => { const found = [...document.querySelectorAll('.words li')].map(li => li.textContent);"
        " return found.length === 12 && found; })()"
    )
    await page.wait_for("document.activeElement.matches('#sessions h3')")  # so that it is read out
    await page.evaluate("document.activeElement.wasRead = true")
    await page.wait_for("document.querySelector('#sessions svg') !== null")  # drawn a moment later
    assert await has_title_still(page)
    return words


async def has_title_still(page: Page) -> bool:
    """Return whether the title of a pairing is what it was and has the focus: it is not read out again."""
    return bool(await page.evaluate("document.activeElement.wasRead === true"))


async def join(page: Page, words: list[str]) -> None:
    await page.tab_to("#code")
    await page.type(" ".join(words))
    await page.press("Enter")


async def accept(page: Page) -> str:
    """Wait for the device, and accept it, by keyboard; return the check value."""
    value: str = await page.wait_for(f"document.querySelector('{CARD} .check')?.textContent")
    name = await page.evaluate(f"document.querySelector('{CARD} [data-action=accept]').textContent")
    assert value in name
    said = await page.evaluate("document.getElementById('announcer').textContent")
    assert value in said
    await page.tab_to("[data-action=accept]")
    await page.press("Enter")
    return value


async def test_two_people_pair_through_two_pages(
    browser: Browser, axe: str, pictures: Path, tmp_path: Path
) -> None:
    """By keyboard alone: code, words, check value, acceptance; then the device is renamed and revoked."""
    async with two_nodes(tmp_path, web=WEB) as (a, b):
        with trio.fail_after(3 * DEADLINE):
            at_a, at_b = await open_node_page(browser, a), await open_node_page(browser, b)
            await check(at_a, axe, "start")
            words = await start(at_a)
            await check(at_a, axe, "words")
            await take_pictures(
                at_a, pictures, "code", "narrow-dark", "narrow-light", "wide-dark", "wide-light"
            )
            await join(at_b, words)
            for page in (at_a, at_b):
                await page.wait_for(f"document.querySelector('{CARD} [data-action=accept]')?.textContent")
            assert await has_title_still(at_a)
            await check(at_a, axe, "decision")
            await take_pictures(at_a, pictures, "decision", "narrow-light", "wide-dark")
            assert await accept(at_a) == await accept(at_b)
            for page, other in ((at_a, "bruno"), (at_b, "anna")):
                await page.wait_for("document.querySelector('.ended.paired')?.textContent")
                await page.wait_for(f"document.querySelector('#devices h3')?.textContent === '{other}'")
                said = await page.evaluate("document.getElementById('announcer').textContent")
                assert said.startswith(f"Paired with {other}")
            await check(at_a, axe, "paired")
            await rename(at_a, axe, "<img src=x>")
            await rename(at_a, axe, "Kitchen")
            await take_pictures(at_a, pictures, "devices", "narrow-dark", "wide-light")
            await revoke(at_a, axe)
            assert await a.client.devices() == []
            for page, node in ((at_a, a), (at_b, b)):
                assert page.problems == []
                assert node.ready.page is not None
                assert {url.startswith(node.ready.page) for url in page.requested} == {True}


async def rename(page: Page, axe: str, name: str) -> None:
    """A name with markup is a text like any other."""
    await page.tab_to("[data-action=rename]")
    await page.press("Enter")
    await page.wait_for("document.activeElement.id === 'new-name'")
    await check(page, axe, "rename")
    await page.evaluate("document.activeElement.select()")
    await page.type(name)
    await page.press("Enter")
    await page.wait_for(f"document.querySelector('#devices h3')?.textContent === {name!r}")
    assert await page.evaluate("document.images.length") == 0
    await page.wait_for("document.activeElement.matches('[data-action=rename]')")


async def revoke(page: Page, axe: str) -> None:
    """Escape keeps the device; the focus is never lost."""
    await page.tab_to("[data-action=forget]")
    await page.press("Enter")
    await page.wait_for("document.getElementById('forget').open")
    await check(page, axe, "revoke")
    await page.press("Escape")
    await page.wait_for("document.activeElement.matches('[data-action=forget]')")
    await page.press("Enter")
    await page.tab_to("#forget [value=yes]")
    await page.press("Enter")
    await page.wait_for("document.querySelectorAll('#devices li').length === 0")
    await page.wait_for("document.activeElement.id === 'content'")


async def test_a_node_that_was_started_again_asks_for_its_new_token(
    browser: Browser, axe: str, tmp_path: Path
) -> None:
    """The page that is open notices; the token is typed; a wrong one is refused; a reload needs none."""
    page = await browser.open_page()
    with trio.fail_after(3 * DEADLINE):
        async with running_node(tmp_path, "anna", web=WEB) as a:
            address = str(a.ready.page)
            await page.goto(f"{address}#{a.ready.page_token}")
            await page.wait_for("document.getElementById('status').textContent.includes('ready')")
        await page.wait_for("document.getElementById('connection').textContent.includes('lost')")
        port = address.rstrip("/").rpartition(":")[2]
        async with running_node(tmp_path, "anna", web=f"127.0.0.1:{port}") as a:
            await page.wait_for("document.activeElement.id === 'token'")
            assert "another one" in await page.evaluate("document.getElementById('token-note').textContent")
            await check(page, axe, "token")
            for token in ("wrong", str(a.ready.page_token)):
                await page.wait_for("document.activeElement.id === 'token'")
                await page.type(token)
                await page.press("Enter")
                await page.wait_for("document.getElementById('connection').textContent.length > 0")
                if token == "wrong":
                    await page.wait_for("document.getElementById('token-note').textContent.length > 0")
            await page.wait_for("document.getElementById('status').textContent.includes('ready')")
            await page.reload()
            await page.wait_for("document.getElementById('status').textContent.includes('ready')")
