"""A browser, and axe-core in it. Both have to be fetched, so only `make test-web` collects what is here."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.browser import Browser, running_browser

BUILT = Path(__file__).resolve().parents[2] / ".web"
AXE = BUILT / "node_modules" / "axe-core" / "axe.min.js"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""Of the version that package.json names."""

collect_ignore_glob = [] if "WEB_BROWSER" in os.environ else ["test_*.py"]


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with running_browser(tmp_path / "browser") as running:
        yield running


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    content = AXE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == AXE_SHA256
    return content.decode()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where the pictures go."""
    return Path(os.environ.get("PICTURES") or BUILT / "pictures")
