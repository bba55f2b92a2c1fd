"""How pytest runs the sweep: a watch for each test, judged when its body is over.

Owns the hook; tests/conftest.py takes it from here, and a test of the hook loads it as a plugin.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.secret_sweep import collector as watch


class SecretFoundError(Exception):
    """A secret of a test stands where none may be."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Watch from the first fixture on."""
    watch.begin()
    yield


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Watch no more: the next test has secrets of its own."""
    try:
        yield
    finally:
        watch.end()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge a test that has passed; one that failed has its own tale to tell.

    Outermost, so that what was captured is complete; before the fixtures end, which take the files with them.
    """
    result = yield
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, Path):
            watch.folder(value)
    for when, kind, text in item._report_sections:
        watch.said(f"captured {kind} ({when})", text.encode("utf-8", "replace"))
    found = watch.found()
    if found:
        raise SecretFoundError("\n".join(found))
    return result
