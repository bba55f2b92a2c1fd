"""Counts function calls: what something costs, the same on every machine."""

import sys
from collections.abc import Callable
from typing import Any


def function_calls(act: Callable[[], object]) -> int:
    """Return how many functions, of Python and of C, `act` calls; what it raises is passed on after that."""
    count = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count
