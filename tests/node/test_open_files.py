"""The limit of open files, which every shell sets to 1024 and few users ever think of."""

import re
import resource
import tempfile
from pathlib import Path

import pytest

from spacedrive_node.open_files import raise_descriptor_limit
from spacedrive_node.supervisor.tree import NodeFailedError
from spacedrive_node.tests.harness import node_commands
from spacedrive_node.tests.harness.node_commands import SDNODE, sdnode_up


def _soft_limit(pid: int) -> int:
    found = re.search(r"Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text())
    assert found is not None
    return int(found[1])


def _limited(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    shell = ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh"]
    monkeypatch.setattr(node_commands, "SDNODE", [*shell, *SDNODE])


def test_a_node_of_many_sessions_raises_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft one: 1000 sessions need more than a shell gives."""
    _limited(monkeypatch, "-Sn 256")
    with (
        tempfile.TemporaryDirectory(prefix="sdnode-") as folder,
        sdnode_up(Path(folder), "anna", "--max-sessions", "1000") as a,
    ):
        assert _soft_limit(a.process.pid) >= 3000


def test_a_hard_limit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node runs, and its log says for how many sessions there is room."""
    _limited(monkeypatch, "-n 400")
    with (
        tempfile.TemporaryDirectory(prefix="sdnode-") as folder,
        sdnode_up(Path(folder), "anna", "--max-sessions", "1000") as a,
    ):
        assert _soft_limit(a.process.pid) == 400
        assert "fewer sessions" in (Path(folder) / "anna.log").read_text()
        (status,) = a.run("status")
        assert status["sessions"] == {"active": 0, "limit": 90}


@pytest.mark.parametrize(("soft", "hard", "raised"), [(200, 4096, 256), (1024, 4096, None), (200, 300, 256)])
def test_a_few_sessions_need_what_the_fork_server_needs(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None
) -> None:
    """However few there may be."""
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: set_to.append(limits))
    assert raise_descriptor_limit(8, log=lambda *_line: None) == 8
    assert set_to == ([] if raised is None else [(raised, hard)])


def test_a_limit_below_what_the_fork_server_needs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to a node of few sessions."""
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (200, 200))
    with pytest.raises(NodeFailedError, match="may open 200 files here"):
        raise_descriptor_limit(8, log=lambda *_line: None)
