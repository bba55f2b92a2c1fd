"""Tests of the client that run on each event loop that it runs on.

The fixtures and the node that it talks to stay on trio. The test runs there too, or on asyncio in a thread.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio

LOOPS = ("trio", "asyncio")


async def run_on(loop: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run `main` on this loop: in the present one, or in an asyncio of its own in a thread."""
    if loop == "trio":
        return await main()
    return await trio.to_thread.run_sync(lambda: anyio.run(main, backend="asyncio"))


def on_each_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Run a test once on each loop. Its body may use anyio, the client, and nothing of trio."""

    @functools.wraps(test)
    async def run(loop: str, **fixtures: Any) -> None:
        await run_on(loop, functools.partial(test, **fixtures))

    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), loop])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop", LOOPS)(run)
