"""Writes the results as a table, if INTEROP_TABLE names a file for it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spacedrive_node.tests.harness.interop_peer import COMMANDS

_HERE = Path(__file__).parent
_VERSIONS = {
    "go": ("go/go.mod", r"go-libp2p v(\S+)"),
    "rust": ("rust/Cargo.toml", r'libp2p = \{ version = "=([^"]+)'),
    "rust-0.53": ("rust-0.53/Cargo.toml", r'libp2p = \{ version = "=([^"]+)'),
    "js-2": ("js-2/package.json", r'"libp2p": "([^"]+)'),
    "js-3": ("js-3/package.json", r'"libp2p": "([^"]+)'),
}
_results: dict[str, dict[str, str]] = {}
"""By what was tested and implementation: the word in the table."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember how a test ended, in the process that hears of all of them."""
    report = yield
    parameters = getattr(item, "callspec", None)
    if parameters is not None and "implementation" in parameters.params:
        what = item.originalname.removeprefix("test_").replace("_s_", "'s ").replace("_", " ")  # type: ignore[attr-defined]
        if "transport" in parameters.params:
            what = f"{parameters.params['transport']}: {what}"
        report.user_properties.append(("interop", (what, parameters.params["implementation"])))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take a result, from this process or from another one of the run."""
    for name, value in report.user_properties:
        if name == "interop" and (report.when == "call" or not report.passed):
            what, implementation = value
            missing = "–" if "not tried" in str(report.longrepr) else "not built"
            done = "yes" if ("whole", False) not in report.user_properties else "partly"
            word = "**fails**" if report.failed else missing if report.skipped else done
            row = _results.setdefault(what, {})
            if row.get(implementation) != "**fails**":
                row[implementation] = word


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    path = os.environ.get("INTEROP_TABLE")
    if path is None or hasattr(session.config, "workerinput") or not _results:
        return
    versions = []
    for name in COMMANDS:
        file, pattern = _VERSIONS[name]
        found = re.search(pattern, (_HERE / file).read_text())
        versions.append(f"{name.partition('-')[0]}-libp2p {found[1] if found else '?'}")
    lines = [
        "# Interoperability",
        "",
        "The last run of `make interop` ([tests/interop](../tests/interop/README.md)). Each row is a test.",
        "What is missing where it says “partly” stands below.",
        "",
        f"| | {' | '.join(versions)} |",
        f"|---|{'---|' * len(versions)}",
    ]
    for what, row in sorted(_results.items()):
        lines.append(f"| {what} | {' | '.join(row.get(name, '–') for name in COMMANDS)} |")
    notes = _HERE / "findings.md"
    lines += ["", "## Where they and this node disagreed", "", notes.read_text().strip()]
    (session.config.rootpath.parent / path).write_text("\n".join(lines) + "\n")
