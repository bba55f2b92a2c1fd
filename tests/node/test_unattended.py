"""Two machines pair where nobody answers: each accepts the other by its peer id, and nobody else."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.command_runner import environment
from spacedrive_node.tests.harness.node_commands import DEADLINE, UpCommand, sdnode_up
from spacedrive_node.tests.harness.secret_sweep import collector


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the paths of sockets may have 100 bytes, and pytest's own folders come near that."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as folder:
        yield Path(folder)


def pair_and_join(shows: UpCommand, enters: UpCommand, *, accepts: str, is_accepted: str) -> tuple[int, int]:
    """Return how `pair --once --accept` and `join --words-file --accept` have ended."""
    pairing = subprocess.Popen(
        [*shows.sdnode, "pair", "--once", "--json", "--accept", accepts, "--data-dir", str(shows.data_dir)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(shows.folder),
        text=True,
    )
    assert pairing.stdout is not None
    words = json.loads(pairing.stdout.readline())["words"]
    collector.add_code(words)
    file = enters.folder / "words"
    file.touch(mode=0o600)
    file.write_text(words + "\n")
    joining = subprocess.run(
        [
            *(*enters.sdnode, "join", "--words-file", str(file), "--json", "--accept", is_accepted),
            *("--data-dir", str(enters.data_dir)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(enters.folder),
        timeout=DEADLINE,
        check=False,
    )
    file.unlink()
    pairing.stdout.read()
    pairing.stdout.close()
    return pairing.wait(DEADLINE), joining.returncode


def test_two_machines_accept_each_other_and_nobody_else(tmp_path: Path) -> None:
    with sdnode_up(tmp_path, "anna") as anna, sdnode_up(tmp_path, "bruno") as bruno:
        by_anna, by_bruno = f"peer={bruno.ready['peer_id']}", f"peer={anna.ready['peer_id']}"
        assert pair_and_join(anna, bruno, accepts=by_bruno, is_accepted=by_bruno) == (5, 5)
        assert anna.run("devices") == bruno.run("devices") == []
        assert pair_and_join(anna, bruno, accepts=by_anna, is_accepted=by_bruno) == (0, 0)
        assert [row["name"] for row in anna.run("devices") + bruno.run("devices")] == ["bruno", "anna"]
