"""The pytest hooks of the search for secrets: one collection for each test, searched when its body is over.

tests/conftest.py imports the hooks, and the test of the hooks loads this module as a plugin.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.secret_sweep import collector


class SecretFoundError(Exception):
    """A secret of a test was found where none may be."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Collect from the first fixture on."""
    collector.start()
    yield


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Drop the collection: the next test has other secrets."""
    try:
        yield
    finally:
        collector.stop()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that has passed but left a secret somewhere. A test that failed keeps its own failure.

    This is the outermost wrapper, so that the captured output is complete, and it runs before the fixtures
    are torn down, which remove the files.
    """
    result = yield
    for value in getattr(item, "funcargs", {}).values():
        if isinstance(value, Path):
            collector.add_folder(value)
    for when, kind, text in item._report_sections:
        collector.add_text(f"captured {kind} ({when})", text.encode("utf-8", "replace"))
    found = collector.findings()
    if found:
        raise SecretFoundError("\n".join(found))
    return result
