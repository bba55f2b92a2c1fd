"""Draws the dashboards of deploy/grafana/ as they look with data of real nodes, into docs/dashboards/.

    python tests/metrics/pictures.py --seconds 240

Two nodes pair for that long, well and badly, and lose an actor now and then; a real Prometheus scrapes them.
Every query of every panel is drawn at its place on the grid, simply, for Grafana does not run. No test.
"""

import argparse
import json
import math
import os
import random
import re
import signal
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import Any

import trio
from trio.to_thread import run_sync as to_thread

from spacedrive_node.messages.errors import SpacedriveNodeError
from spacedrive_node.protocol.peer_ids import peer_id_text
from spacedrive_node.tests.harness.nodes import Node, free_port, pair, running_node
from spacedrive_node.tests.harness.prometheus import Prometheus, running_prometheus

ROOT = Path(__file__).resolve().parents[2]
COLUMN, LINE, GAP, BAR = 60, 30, 8, 18
POINTS = 60
COLORS = (
    "#5794f2", "#73bf69", "#ff9830", "#f2495c", "#b877d9", "#fade2a",
    "#37872d", "#8ab8ff", "#c4162a", "#806eb7", "#96d98d", "#ffb357",
)  # fmt: skip
UNITS = {"s": "s", "bytes": "B", "Bps": "B/s", "percentunit": "%", "pps": "/s"}
Series = tuple[str, list[float]]
"""Legend and values; NaN where there is none."""


def shown(value: float, unit: str) -> str:
    """A value as a person reads it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{100 * value:.0f} %"
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit and unit != "s":
            return f"{value / limit:.3g} {sign}{UNITS.get(unit, '')}"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} {UNITS.get(unit, '')}".strip()


def _rounded_up(value: float) -> float:
    """The next greater number that an axis may end with."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        one * power for one in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if one * power >= value * 0.999
    )


class Source:
    """The queries of panels, over the time of the run."""

    def __init__(self, prometheus: Prometheus, start: float, end: float) -> None:
        self._prometheus, self._start, self._end = prometheus, start, end
        self._step = (end - start) / POINTS

    def series(self, panel: dict[str, Any]) -> list[Series]:
        """Every series of a panel, at the points that are drawn."""
        found: list[Series] = []
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", f"{max(4, round(2 * self._step))}s")
            query = query.replace("$instance", ".+").replace("$stage", ".+")
            answer = self._prometheus.get(
                "query_range", query=query, start=str(self._start), end=str(self._end), step=str(self._step)
            )
            for one in answer["result"]:
                legend = re.sub(
                    r"\{\{(\w+)\}\}", lambda m, of=one: of["metric"].get(m[1], ""), target["legendFormat"]
                )
                values = [math.nan] * (POINTS + 1)
                for at, value in one["values"]:
                    values[min(POINTS, round((float(at) - self._start) / self._step))] = float(value)
                found.append((legend, values))
        return found


class Picture:
    """One dashboard as SVG."""

    def __init__(self, dashboard: dict[str, Any], source: Source) -> None:
        self._source = source
        self._out: list[str] = []
        panels = dashboard["panels"]
        height = LINE * max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels) + 2 * LINE
        self._text(GAP, 24, dashboard["title"], 18, weight="bold")
        for panel in panels:
            self._panel(panel)
        size = f'width="{24 * COLUMN}" height="{height}" viewBox="0 0 {24 * COLUMN} {height}"'
        style = 'font-family="system-ui, sans-serif" fill="#24292e"'
        background = '<rect width="100%" height="100%" fill="#f4f5f5"/>'
        self.svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{background}\n'
        self.svg += "\n".join(self._out) + "\n</svg>\n"

    def _text(
        self, x: float, y: float, text: str, size: int = 11, *, anchor: str = "start", weight: str = ""
    ) -> None:
        bold = f' font-weight="{weight}"' if weight else ""
        where = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}"'
        self._out.append(f"<text {where}{bold}>{escape(text)}</text>")

    def _rect(self, x: float, y: float, w: float, h: float, fill: str, more: str = "") -> None:
        if w > 0 and h > 0:
            self._out.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{fill}"{more}/>'
            )

    def _panel(self, panel: dict[str, Any]) -> None:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN, place["y"] * LINE + LINE + 8
        w, h = place["w"] * COLUMN, place["h"] * LINE
        if panel["type"] == "row":
            self._text(x + GAP, y + 20, panel["title"], 14, weight="bold")
            return
        self._rect(x + 3, y + 3, w - 6, h - 6, "#fff", ' stroke="#d8d9da" rx="3"')
        self._text(x + GAP + 3, y + 19, panel["title"].replace("$stage", "all"), 12, weight="600")
        series = self._source.series(panel)
        box = (x + 62, y + 30, w - 62 - 2 * GAP, h - 30 - 2 * BAR - GAP)
        match panel["type"]:
            case "stat":
                self._stat(panel, series, x, y, w)
            case "heatmap":
                self._heatmap(series, box)
            case "state-timeline":
                self._states(panel, series, (x + 170, y + 30, w - 170 - 2 * GAP, h - 30 - 2 * GAP))
            case _:
                self._lines(panel, series, box)

    def _stat(self, panel: dict[str, Any], series: list[Series], x: int, y: int, w: int) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        words = defaults["mappings"][0]["options"] if defaults["mappings"] else {}
        for number, (legend, values) in enumerate(series[:2]):
            last = next((one for one in reversed(values) if not math.isnan(one)), math.nan)
            word = words.get(f"{last:.0f}") if not math.isnan(last) else None
            middle = x + w * (2 * number + 1) / (2 * min(2, len(series)))
            self._text(
                middle, y + 72, word["text"] if word else shown(last, defaults["unit"]), 24, anchor="middle"
            )
            self._text(middle, y + 98, legend, anchor="middle")

    def _axis(self, box: tuple[float, float, float, float], top: float, unit: str) -> None:
        x, y, w, h = box
        for part in range(5):
            at = y + h - h * part / 4
            self._out.append(f'<path d="M{x:.0f} {at:.0f}h{w:.0f}" stroke="#e4e5e6"/>')
            self._text(x - 5, at + 4, shown(top * part / 4, unit), 10, anchor="end")

    def _lines(
        self, panel: dict[str, Any], series: list[Series], box: tuple[float, float, float, float]
    ) -> None:
        custom = panel["fieldConfig"]["defaults"]["custom"]
        stacked = custom["stacking"]["mode"] == "normal"
        bars = custom["drawStyle"] == "bars"
        drawn = [one for one in series if any(value > 0 for value in one[1])]
        if not drawn:
            self._text(box[0] + box[2] / 2, box[1] + box[3] / 2, "0 all the time", 12, anchor="middle")
        x, y, w, h = box
        heights = [0.0] * (POINTS + 1)
        for _, values in drawn:
            for place, value in enumerate(values):
                if not math.isnan(value):
                    heights[place] = heights[place] + value if stacked else max(heights[place], value)
        top = _rounded_up(max(heights)) if drawn else 1.0
        self._axis(box, top, panel["fieldConfig"]["defaults"]["unit"])
        below = [0.0] * (POINTS + 1)
        for number, (_, values) in enumerate(drawn):
            color, points = COLORS[number % len(COLORS)], []
            for place, value in enumerate(values):
                if math.isnan(value):
                    points.append("")
                    continue
                low = below[place] if stacked else 0.0
                below[place] = low + value
                left, high = x + w * place / POINTS, y + h - h * (low + value) / top
                if bars:
                    self._rect(left - w / POINTS / 2, high, w / POINTS * 0.8, h * value / top, color)
                else:
                    points.append(f"{left:.1f} {high:.1f}")
            for part in "\n".join(points).split("\n\n"):
                path = "L".join(part.split("\n")).strip("L")
                if "L" in path:
                    self._out.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        self._legend([legend for legend, _ in drawn], (x - 50, y + h + BAR, w + 50))

    def _legend(self, legends: list[str], place: tuple[float, float, float]) -> None:
        left, y, w = place
        x, line = left, 0
        for number, legend in enumerate(legends):
            width = 22 + 6 * len(legend)
            if x + width > left + w and x > left:
                x, line = left, line + 1
            if line > 1:
                return
            self._rect(x, y + line * 14 - 8, 9, 9, COLORS[number % len(COLORS)])
            self._text(x + 13, y + line * 14, legend, 10)
            x += width

    def _heatmap(self, series: list[Series], box: tuple[float, float, float, float]) -> None:
        x, y, w, h = box
        ordered = sorted(series, key=lambda one: float(one[0]))
        most = (
            max((value for _, values in ordered for value in values if not math.isnan(value)), default=0.0)
            or 1.0
        )
        below = [0.0] * (POINTS + 1)
        for row, (bound, values) in enumerate(ordered):
            bottom = y + h - h * row / len(ordered)
            if row % 3 == 0:
                self._text(
                    x - 5, bottom, "more" if bound == "+Inf" else shown(float(bound), "s"), 10, anchor="end"
                )
            for place, value in enumerate(values):
                count = value - below[place]
                if count > 0.01:
                    deep = min(1.0, 0.15 + math.sqrt(count / most))
                    size = (w / POINTS, h / len(ordered))
                    fill = f' fill-opacity="{deep:.2f}"'
                    self._rect(x + w * place / POINTS, bottom - size[1], size[0], size[1], "#d9480f", fill)
                below[place] = 0.0 if math.isnan(value) else value

    def _states(
        self, panel: dict[str, Any], series: list[Series], box: tuple[float, float, float, float]
    ) -> None:
        x, y, w, h = box
        each = h / max(1, len(series))
        words = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
        for row, (legend, values) in enumerate(series):
            self._text(x - 5, y + each * (row + 0.5) + 4, legend, 10, anchor="end")
            for place, value in enumerate(values[:-1]):
                if not math.isnan(value) and (color := words[f"{value:.0f}"]["color"]) != "transparent":
                    fill = {"green": "#73bf69", "orange": "#ff9830"}[color]
                    self._rect(x + w * place / POINTS, y + each * row + 2, w / POINTS + 0.5, each - 4, fill)


async def use(a: Node, b: Node, seconds: float) -> None:
    """Pair as people do, and have accidents: some cancel, some mistype, an actor is killed now and then."""
    chance, ends = random.Random(7), trio.current_time() + seconds
    killed = 0
    while (left := ends - trio.current_time()) > 0:
        try:
            what = chance.random()
            if what < 0.7:
                await pair(a, b)
            elif what < 0.85:
                await (await a.client.start_pairing()).cancel()
            else:
                await b.client.join_pairing(" ".join(["abandon"] * 11 + ["about"]), timeout=2)
            if killed < 2 and left < seconds * (0.7 - 0.4 * killed):
                killed += 1
                os.kill((await b.pids())["swarm"], signal.SIGKILL)
        except SpacedriveNodeError as error:
            print(f"one pairing: {error}", file=sys.stderr)
        await trio.sleep(chance.uniform(0.2, 4.0))


def _settings() -> dict[str, object]:
    port = free_port()
    listen = (f"/ip4/127.0.0.1/tcp/{port}", f"/ip4/127.0.0.1/udp/{port}/quic-v1")
    return {"metrics_listen": "127.0.0.1:0", "listen": listen}


async def run(seconds: float, folder: Path) -> None:
    """Run the nodes and draw."""
    with tempfile.TemporaryDirectory(prefix="sdnode-") as name:
        short = Path(name)
        async with running_node(short, "anna", relay_service=True, **_settings()) as a:
            server = tuple(f"{one}/p2p/{peer_id_text(a.ready.peer)}" for one in a.ready.addresses)
            async with running_node(short, "bruno", bootstrap=server, relay=server[:1], **_settings()) as b:
                targets = [one.ready.metrics for one in (a, b) if one.ready.metrics]
                with running_prometheus(short / "prometheus", targets) as prometheus:
                    await to_thread(prometheus.wait_for, "spacedrive_node_ready == 1", 2)
                    start = time.time()
                    await use(a, b, seconds)
                    source = Source(prometheus, start, time.time())
                    for path in sorted((ROOT / "deploy/grafana").glob("*.json")):
                        picture = await to_thread(Picture, json.loads(path.read_text()), source)
                        (folder / f"{path.stem}.svg").write_text(picture.svg)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs/dashboards")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    trio.run(run, arguments.seconds, arguments.folder)


if __name__ == "__main__":
    main()
