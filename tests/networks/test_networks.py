"""Five cells of the matrix of networks, one pairing in each; run.py does all. What is kept and written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spacedrive_node.tests.harness import nat_lab, network_cells
from spacedrive_node.tests.harness.network_cells import (
    Cell,
    CellResults,
    PairingResult,
    all_cells,
    keep_results,
    publish,
    read_published,
    read_results,
    run_cell,
)
from spacedrive_node.tests.harness.network_report import report
from spacedrive_node.tests.networks import run

RUN = Path(__file__).with_name("run.py")
SAMPLE = {
    Cell("cone", "cone", 10, 0): "direct",
    Cell("symmetric", "udp-blocked", 10, 2): "relayed",
    Cell("double", "ipv6", 10, 0): "relayed",
    Cell("public", "restricted", 50, 0): "direct",
    Cell("one-home", "one-home", 10, 0): "",
}
"""By cell: the path soon after the pairing. In one home it is that of whoever finds the code first."""


@pytest.fixture(autouse=True)
def _needs_a_laboratory(request: pytest.FixtureRequest) -> None:
    if "laboratory" in request.keywords and (problem := nat_lab.missing_for_wire()):
        pytest.skip(problem)


@pytest.mark.laboratory
@pytest.mark.parametrize(("cell", "after"), SAMPLE.items(), ids=[cell.name for cell in SAMPLE])
async def test_two_nodes_pair_by_words_alone(cell: Cell, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if after == "direct":
        monkeypatch.setattr(network_cells, "SEEN_DIRECT_TIMEOUT_S", 60.0)
    results: list[PairingResult] = []
    await run_cell(cell, 1, results.append)
    (result,) = results
    assert (result.outcome, result.path_after) == ("paired", after or result.path_after), result


def test_there_is_a_cell_for_every_pair() -> None:
    """Of eight places, with each delay and loss; and one home, and relays of others."""
    cells = all_cells()
    assert len({cell.name for cell in cells}) == len(cells) == 9 * (36 + 1 + 4)


def test_results_are_kept_and_reported(tmp_path: Path) -> None:
    cell = Cell("cone", "symmetric", 50, 2)
    results = [
        PairingResult("cone", "paired", "relayed", "direct", 0.5),
        PairingResult("symmetric", "not_found"),
    ]
    keep_results(tmp_path / "cell.json", cell, results)
    assert read_results(tmp_path / "cell.json") == results
    assert read_results(tmp_path / "other.json") == []
    written = report({cell.name: CellResults("2026-11-29", results)})
    assert "| 2 % | 1 | 2 | 1 (50.0 %) | – |" in written
    assert "Measured 2026-11-29." in written
    assert "| cone+symmetric | 1 of 2, 1 not_found | relayed | direct | 0.50 s | 10 |" in written


def test_what_is_published_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine goes on from it; what it has done more of takes the place of what was published."""
    done, begun = Cell("cone", "cone", 10, 0), Cell("cone", "double", 10, 0)
    paired = PairingResult("cone", "paired", "relayed", "direct", 0.5, load=0.25)
    published = tmp_path / "networks" / "results.json"
    published.parent.mkdir()
    publish(
        published,
        {
            done.name: CellResults("2026-11-28", [paired, paired]),
            begun.name: CellResults("2026-11-28", [paired]),
        },
    )
    was_run: list[Cell] = []

    def run_two(cell: Cell, file: Path, _pairings: int, _logs: Path) -> list[PairingResult]:
        was_run.append(cell)
        keep_results(file, cell, [paired, PairingResult("double", "not_found")])
        return read_results(file)

    monkeypatch.setattr(run, "run_one", run_two)
    monkeypatch.setattr(nat_lab, "missing_for_wire", str)
    monkeypatch.setattr(signal, "signal", lambda *_arguments: None)
    command = [
        "run.py",
        "--cells",
        f"{done.name} {begun.name}",
        "--pairings",
        "2",
        "--results",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--report", str(tmp_path / "networks.md")])
    assert run.main() == 1
    assert was_run == [begun]
    merged = read_published(published)
    assert merged[done.name] == CellResults("2026-11-28", [paired, paired])
    assert [one.outcome for one in merged[begun.name].pairings] == ["paired", "not_found"]
    assert "| 0 % | 2 | 4 | 3 (75.0 %) | 0.2 |" in (tmp_path / "networks.md").read_text()

    was_run.clear()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--again"])
    assert run.main() == 1
    assert was_run == [done, begun]


def test_the_document_is_that_of_the_published_results() -> None:
    """To the digit: it is written from what a reader has, and not from what was measured more finely."""
    document = run.ROOT / "docs" / "networks.md"
    assert document.read_text() == report(read_published(document.with_suffix("") / "results.json"))


@pytest.mark.laboratory
def test_a_run_that_is_stopped_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    """What was done is not done again, a cell is run once; of a signal in mid-pairing no process is left."""
    cell = Cell("cone", "cone", 10, 0)
    keep_results(
        tmp_path / f"{cell.name}.json", cell, [PairingResult("cone", "paired", "relayed", "relayed", 0.5)]
    )
    where = ["--results", str(tmp_path), "--report", str(tmp_path / "networks.md")]
    command = [sys.executable, str(RUN), "--cells", cell.name, "--jobs", "2", *where]
    done = subprocess.run([*command, "--pairings", "1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "| cone+cone | 1 of 1 | relayed | relayed |" in (tmp_path / "networks.md").read_text()

    marked = {**os.environ, "NETWORKS_TEST": str(tmp_path)}
    with subprocess.Popen([*command, "--pairings", "2"], stdout=subprocess.PIPE, env=marked) as running:
        try:
            while not any(b"lab_wire" in one for one in command_lines(str(tmp_path)).values()):
                assert running.poll() is None
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 1
            assert running.stdout is not None
            assert b"stopped; the same command goes on" in running.stdout.read()
        finally:
            running.kill()
    assert command_lines(str(tmp_path)) == {}
    assert len(json.loads((tmp_path / f"{cell.name}.json").read_text())["pairings"]) == 1


def test_a_signal_in_a_nursery_stops_a_run_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While nodes start, or behind another implementation's relay, it comes out as a group."""

    def stopped(*_arguments: object) -> list[PairingResult]:
        raise BaseExceptionGroup("of a nursery", [KeyboardInterrupt()])

    monkeypatch.setattr(run, "run_one", stopped)
    monkeypatch.setattr(nat_lab, "missing_for_wire", str)
    monkeypatch.setattr(signal, "signal", lambda *_arguments: None)
    where = ["--results", str(tmp_path), "--report", str(tmp_path / "networks.md")]
    monkeypatch.setattr(sys, "argv", ["run.py", "--cells", "cone+cone@10ms-0%", *where])
    assert run.main() == 1
    assert "stopped; the same command goes on" in capsys.readouterr().out


def command_lines(mark: str) -> dict[str, bytes]:
    """Return the commands of the processes whose environment has been marked so, by pid."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"NETWORKS_TEST={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found[process.name] = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
    return found
