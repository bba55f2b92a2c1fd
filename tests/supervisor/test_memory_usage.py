"""The memory of a process, exactly from smaps_rollup or roughly from statm."""

import os
from pathlib import Path

from spacedrive_node.supervisor import memory_usage


def test_a_process_that_cannot_be_looked_into_still_has_a_size(tmp_path: Path) -> None:
    """Every user may read statm, and it gives about the same."""
    exact, rough = memory_usage.memory_of(os.getpid()), memory_usage._from_statm(Path("/proc/self"))
    assert 0 < exact.private <= exact.rss
    assert 0 < rough.private <= rough.rss
    assert abs(exact.rss - rough.rss) < 0.2 * exact.rss
    assert memory_usage._from_statm(tmp_path) == memory_usage.memory_of(2**22 + 1) == memory_usage.Memory()
