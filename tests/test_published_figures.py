"""What `make bench PUBLISH=1` does to docs/performance.md."""

from pathlib import Path
from typing import Any

from spacedrive_node.benchmarks.publish import BEGIN, END, publish

NODE: dict[str, Any] = {
    "date": "2026-01-02",
    "machine": {"cores": 2, "processor": "P", "memory_gib": 4, "kernel": "6", "python": "3.11"},
    "rows": [],
    "notes": [],
}


def test_what_has_no_figures_stays(tmp_path: Path) -> None:
    """Text before and after the marks, and sections of other runs; each section has its place."""
    document = tmp_path / "performance.md"
    by_hand = "### At a distance\n\nWritten by hand.\n\n#### A part of it\n\nText.\n"
    document.write_text(f"# Before\n\n{BEGIN}\n### One node\n\nold\n\n{by_hand}\n{END}\nAfter\n")
    publish({"node": NODE, "pairing": NODE}, document)
    text = document.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n### Pairing\n\n2026-01-02, ")
    assert text.endswith(f"\n{by_hand}\n{END}\nAfter\n")
    assert "old" not in text
    publish({"node": NODE, "pairing": NODE}, document)
    assert document.read_text() == text
