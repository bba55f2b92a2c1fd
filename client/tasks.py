"""What the client needs of an event loop beyond anyio: background tasks, and the news that something changed.

The client runs on trio and on asyncio alike. Nothing here or in its neighbours names either: anyio loads only
the half of the loop that runs. See docs/decisions/0019.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """Give a group of tasks that are cancelled at the end of the block.

    What the block raises leaves as it is, not wrapped in the group's exception group.
    """
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Change:
    """Wakes, at each change, every task that waits for the next one."""

    def __init__(self) -> None:
        self._next = anyio.Event()

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._next.wait()

    def announce(self) -> None:
        """Wake all that wait."""
        self._next.set()
        self._next = anyio.Event()
