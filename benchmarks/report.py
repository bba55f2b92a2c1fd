"""What comes out: the table on the terminal, the figures as JSON, and the plots (plots.py draws them)."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .benchmark_run import BenchmarkRun, Row

_WIDTH = 170
_COLOURS = {"reached": "green", "missed": "red"}
PLOTS = Path(__file__).with_name("plots.py")


def show(found: Sequence[BenchmarkRun], about: dict[str, object], seconds: float) -> None:
    """Print the table: what, aim, figure, ratio, reached or not."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "aim", "figure", "beside it", "ratio", ""):
        table.add_column(name, justify="left" if not name or name == "beside it" else "right")
    for bench in found:
        table.add_row(
            f"[bold]{bench.name}[/]", "", "", "", "", f"[dim]{bench.data.get('took_seconds', '')} s[/]"
        )
        for row in bench.rows:
            what, *rest, reached = cells(row)
            table.add_row(f"  {what}", *rest, f"[{_COLOURS[reached]}]{reached}[/]" if reached else "")
        for note in bench.notes:
            table.add_row(f"  [dim]{note}[/]")
    console.print(table)
    console.print(f"{', '.join(f'{key} {value}' for key, value in about.items())}; took {seconds:.0f} s")


def cells(row: Row) -> tuple[str, str, str, str, str, str]:
    """Return a row as texts: what, aim, figure, what stands beside it, ratio, reached or missed."""
    reached = {True: "reached", False: "missed", None: ""}[row.reached]
    aim = ""
    if row.aim is not None:
        unit = "×" if row.of_ratio else f" {row.unit}"
        aim = f"{'≤' if row.at == 'most' else '≥'} {_number(row.aim)}{unit}".strip()
    beside = "" if row.beside is None else f"{row.beside[0]}: {_number(row.beside[1])} {row.unit}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
    what = row.what + (f" ({row.note})" if row.note else "")
    return what, aim, f"{_number(row.figure)} {row.unit}".strip(), beside, ratio, reached


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def write(found: Sequence[BenchmarkRun], about: dict[str, object], path: Path) -> dict[str, Any]:
    """Write the figures of this run beside those of the benchmarks that did not run; return all of them."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for bench in found:
        kept[bench.name] = {
            "machine": about,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "rows": [{**asdict(row), "ratio": row.ratio, "reached": row.reached} for row in bench.rows],
            "notes": bench.notes,
            "data": bench.data,
        }
    plain = _plain(kept)
    path.write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n")
    return plain  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """Return what JSON can hold: six digits of each number, null for one that there is not."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def draw(figures: Path, python: Path | None) -> None:
    """Draw the plots beside the figures, where matplotlib is."""
    if python is None:
        sys.stderr.write("no plots: matplotlib is in .venv-bench, which could not be made\n")
        return
    subprocess.run([python, PLOTS, figures, figures.parent], check=False)
    sys.stdout.write(f"figures and plots: {figures.parent}\n")
