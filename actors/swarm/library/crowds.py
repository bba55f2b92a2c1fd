"""A place for each of those who wait for a stranger, and who loses it when there are too many.

Owns the scopes that are cancelled. Who makes room is block_shares.py's.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from .block_shares import BlockShares


@contextmanager
def place(
    crowd: BlockShares[trio.CancelScope], block: str | None, timeout_s: float = math.inf
) -> Iterator[trio.CancelScope]:
    """Bound the body by its time, and by others: it is cancelled when one of them needs its place.

    `block` is an address block; None: without a share of its own.
    """
    crowded_out = crowd.to_make_room(block)
    if crowded_out is not None:
        crowd.end(crowded_out)
        crowded_out.cancel()
    scope = trio.CancelScope(deadline=trio.current_time() + timeout_s)
    crowd.begin(scope, block)
    try:
        with scope:
            yield scope
    finally:
        if scope in crowd:
            crowd.end(scope)
