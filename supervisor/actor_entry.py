"""What runs an actor, in a forked process and in a trio task alike: find its entry, run it, report its crash.

A crash report names exception types and places in code, never values or messages: those may hold secrets.
"""

import importlib
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Protocol, runtime_checkable

import trio

from ..messages.child_protocol import Log, ToChild
from ..messages.types import LogField
from .channel import BlockingChannel, Channel

Entry = Callable[[Channel[ToChild]], Awaitable[None]]


@runtime_checkable
class Served(Protocol):
    """An entry that can also be run without an event loop, in a process that does nothing else."""

    def serve(self, channel: BlockingChannel[ToChild]) -> None:
        """Run until it ends or the node stops."""
        ...


CRASHED = 70
"""Exit status after an uncaught exception (EX_SOFTWARE)."""
_FRAMES = 12
_warm: set[str] = set()


def load_entry(entry: str) -> Entry:
    """Import "package.module:function"."""
    module, _, function = entry.partition(":")
    found: Entry = getattr(importlib.import_module(module), function)
    return found


def warm_up(module: str) -> None:
    """Import a module and, once, what it and its libraries import at first use: its `warm_up` does."""
    if module in _warm:
        return
    getattr(importlib.import_module(module), "warm_up", lambda: None)()
    _warm.add(module)


async def run_entry(find: Callable[[], Entry], channel: Channel[ToChild]) -> int:
    """Find and run an actor on trio; report an exception to the supervisor; return the exit status."""
    try:
        await find()(channel)
    except trio.Cancelled:
        raise
    except Exception as error:  # the top of the actor: whatever it is, the supervisor must be told
        with trio.move_on_after(1), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await channel.send(crash_report(error))
        return CRASHED
    return 0


def crash_report(error: BaseException) -> Log:
    """Describe an exception without its values: the types, and where each came from."""
    leaves = list(_leaves(error))[:4]
    fields: dict[str, LogField] = {}
    for number, leaf in enumerate(leaves):
        suffix = "" if number == 0 else f"_{number + 1}"
        fields["error" + suffix] = _types(leaf)[:300]
        fields["where" + suffix] = " < ".join(_places(leaf))[:1000]
    return Log(level="error", event="actor crashed", fields=fields)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _types(error: BaseException) -> str:
    names = [type(error).__qualname__]
    cause = error.__cause__ or error.__context__
    while cause is not None and len(names) < 4:
        names.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    return " from ".join(names)


def _places(error: BaseException) -> list[str]:
    """Return file:line of the innermost frames, innermost first; file names are cut to two components."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return [f"{'/'.join(name.split('/')[-2:])}:{line}" for name, line in reversed(frames[-_FRAMES:])]
