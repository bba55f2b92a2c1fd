"""The formal models: what must hold holds, and each mistake that was made once is seen. Needs spin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.model_checker import SEARCHES, Search, missing_tools, search

SHORT = [one for one in SEARCHES if not one.long]


@pytest.mark.skipif(bool(missing_tools()), reason="spin or a C compiler is missing: make prove says how")
@pytest.mark.parametrize("one", SHORT, ids=[one.name for one in SHORT])
@pytest.mark.timeout(120)
def test_every_short_search_comes_out_as_it_must(one: Search) -> None:
    """Exhaustively; a search that is not complete counts as wrong."""
    assert search(one)[0] == one.expected


def test_without_spin_it_says_so_and_succeeds(tmp_path: Path) -> None:
    """Loudly, with the way to get it."""
    run = Path(__file__).with_name("run.py")
    done = subprocess.run(
        [sys.executable, str(run)],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SKIPPED: the models were not checked, for spin and cc is not installed.")
    assert "apt-get install spin" in done.stdout
