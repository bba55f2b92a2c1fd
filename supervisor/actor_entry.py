"""Loads and runs the entry of an actor, in a forked process or a trio task, and reports its crash.

Owns the crash report, which names exception types and places in code, never values or messages: those may
hold secrets. Never decides what to run an entry on: fork_server.py does.
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
"""Runs an actor on trio until it ends or the node stops."""


@runtime_checkable
class BlockingEntry(Protocol):
    """An entry that can also run without an event loop, in a process that does nothing else."""

    def serve(self, channel: BlockingChannel[ToChild]) -> None:
        """Run until the actor ends or the node stops."""
        ...


CRASH_STATUS = 70
"""Exit status after an uncaught exception (EX_SOFTWARE)."""
_MAX_FRAMES = 12
_SUFFIXES = ("", "_second", "_third", "_fourth")
"""Of the fields about the exceptions of one group."""
_warmed_up: set[str] = set()


def load_entry(entry: str) -> Entry:
    """Import "package.module:name" and return the object of that name."""
    module, _, function = entry.partition(":")
    found: Entry = getattr(importlib.import_module(module), function)
    return found


def warm_up(module: str) -> bool:
    """Import a module and call its `warm_up`, if it has one, which imports what is imported at first use.

    Does nothing the second time; return whether it was the first.
    """
    if module in _warmed_up:
        return False
    getattr(importlib.import_module(module), "warm_up", lambda: None)()
    _warmed_up.add(module)
    return True


async def run_entry(find: Callable[[], Entry], channel: Channel[ToChild]) -> int:
    """Find and run an actor on trio; report an exception to the supervisor; return the exit status."""
    try:
        await find()(channel)
    except trio.Cancelled:
        raise
    except Exception as error:  # the top of the actor: whatever it is, the supervisor must learn of it
        with trio.move_on_after(1), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await channel.send(crash_report(error))
        return CRASH_STATUS
    return 0


def crash_report(error: BaseException) -> Log:
    """Return the log line about an exception: its types and the places that it came from, without values."""
    leaves = list(_leaves(error))[: len(_SUFFIXES)]
    fields: dict[str, LogField] = {}
    for number, leaf in enumerate(leaves):
        suffix = _SUFFIXES[number]
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
    return [f"{'/'.join(name.split('/')[-2:])}:{line}" for name, line in reversed(frames[-_MAX_FRAMES:])]
