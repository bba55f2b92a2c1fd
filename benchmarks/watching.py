"""What watching a node costs a pairing: metrics that are scraped, the log at level info, an open page.

Four pairs of nodes are there at once, one that nobody watches and one for each of these, and pair in turn, so
that whatever else this machine does falls on all of them alike. The figure is the processor time of all
processes of both nodes from the first pairing of a turn to its last, one after another; scrapes and what the
page asks by itself fall into turns as they come. What they cost a node that does nothing is measured too.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import trio

from ..client.embedded import Node, open_node
from . import procfs
from .benchmark_run import BenchmarkRun, quantile, summary
from .metrics_scrape import scrape
from .nodes import config, pair, processes, two_nodes, wait_until_idle

AIM = 1.03
_OFF = "nothing"
_VARIANTS: dict[str, dict[str, object]] = {
    _OFF: {},
    "metrics": {"metrics_listen": "127.0.0.1:0"},
    "log": {"log_level": "info", "log_format": "json"},
    "page": {"web": "127.0.0.1:0"},
}
_WATCHED_BY = {
    "metrics": "metrics scraped",
    "log": "log at info as JSON",
    "page": "a page open",
}
_SCRAPE_EVERY = 5.0
"""Three times as often as in deploy/prometheus/."""
_AS_PROMETHEUS = "application/openmetrics-text;version=1.0.0"
_IN_A_TURN = 2
_ROUNDS, _SECONDS, _SECONDS_NAMED, _SECONDS_LONG = 1000, 30.0, 110.0, 600.0
_SETTLED, _IDLE = 3.0, 10.0
_RESAMPLES = 2000


@dataclass
class _Pair:
    """Two nodes, and the milliseconds of processor time of one pairing in each of their turns."""

    nodes: tuple[Node, Node]
    trees: tuple[dict[str, int], dict[str, int]]
    used: list[float] = field(default_factory=list)
    by_process: Counter[str] = field(default_factory=Counter)

    def processor_times(self) -> dict[str, float]:
        """Return the seconds that each process of both nodes has used so far, sessions together."""
        used: dict[str, float] = {}
        for tree in self.trees:
            named = {pid for actor, pid in tree.items() if not actor.startswith(("session", "spare"))}
            for actor, pid in tree.items():
                if pid in named:
                    used[actor] = used.get(actor, 0.0) + procfs.cpu(pid)
            sessions = procfs.cpu_of_all_children(tree["zygote"], without=named)
            used["sessions"] = used.get("sessions", 0.0) + sessions
        return used

    async def turn(self) -> None:
        """Pair so many times, one after another."""
        before = self.processor_times()
        for _ in range(_IN_A_TURN):
            await pair(*self.nodes)
        after = self.processor_times()
        used = {actor: 1000 * (after[actor] - before[actor]) / _IN_A_TURN for actor in before}
        self.by_process.update(used)
        self.used.append(sum(used.values()))


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    async with AsyncExitStack() as stack:
        pairs = {}
        for name, settings in _VARIANTS.items():
            nodes = await stack.enter_async_context(two_nodes(bench, name, **settings))
            pairs[name] = _Pair(nodes, (await processes(nodes[0]), await processes(nodes[1])))
        await stack.enter_async_context(_watched(pairs["metrics"].nodes, pairs["page"].nodes))
        seconds = _SECONDS_LONG if bench.long else _SECONDS_NAMED if bench.is_named else _SECONDS
        for number in bench.repeat("rounds", _ROUNDS, seconds, least=10):
            for name in _order(number):
                await pairs[name].turn()
        _rows(bench, pairs)
        await _idle(bench, pairs)
    await _memory(bench)


def _order(number: int) -> list[str]:
    """Return whose turn it is when: each comes after each other one as often."""
    names = list(_VARIANTS)
    turned = names[number % len(names) :] + names[: number % len(names)]
    return turned[::-1] if number // len(names) % 2 else turned


@asynccontextmanager
async def _watched(metrics: tuple[Node, Node], page: tuple[Node, Node]) -> AsyncIterator[None]:
    """Scrape the metrics of two nodes, and keep the page of two nodes open, while the block runs."""
    async with trio.open_nursery() as nursery:
        for node in metrics:
            nursery.start_soon(_scrape, node)
        for node in page:
            await nursery.start(_read_page, node)
        yield
        nursery.cancel_scope.cancel()


async def _scrape(node: Node) -> None:
    assert node.metrics is not None
    while True:
        await scrape(node.metrics, _AS_PROMETHEUS)
        await trio.sleep(_SCRAPE_EVERY)


async def _read_page(node: Node, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Open the stream of events of a page, and read it. Raises ConnectionError when there is none."""
    assert node.page is not None
    origin = node.page.rstrip("/")
    host = origin.partition("://")[2]
    request = (
        f"GET /api/events HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nSec-Fetch-Site: same-origin\r\n"
        f"Authorization: Bearer {node.page_token}\r\n\r\n"
    )
    async with await trio.open_tcp_stream("127.0.0.1", int(host.rpartition(":")[2])) as stream:
        await stream.send_all(request.encode())
        if not (await stream.receive_some(1 << 16)).startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"{host} sends no events")
        task_status.started()
        while await stream.receive_some(1 << 16):
            pass
    raise ConnectionError(f"{host} sends no events any more")


def _rows(bench: BenchmarkRun, pairs: dict[str, _Pair]) -> None:
    off = pairs[_OFF].used
    bench.data["cpu_ms_per_pairing"] = {name: summary(one.used) for name, one in pairs.items()}
    bench.data["cpu_ms_by_process"] = {
        name: {actor: used / len(one.used) for actor, used in one.by_process.items()}
        for name, one in pairs.items()
    }
    bench.data["samples"] = {name: one.used for name, one in pairs.items()}
    count = len(off) * _IN_A_TURN
    beside = ("unwatched", sum(off) / len(off))
    for name, what in _WATCHED_BY.items():
        on = pairs[name].used
        low, high = _between(on, off)
        bench.data[f"ratio_{name}"] = {"ratio": sum(on) / sum(off), "low": low, "high": high}
        bench.row(
            f"a pairing, {what}",
            sum(on) / len(on),
            "ms",
            aim=AIM,
            of_ratio=True,
            beside=beside,
            note=f"n = {count}, {low:.2f}× to {high:.2f}×",
        )


def _between(on: list[float], off: list[float]) -> tuple[float, float]:
    """Return between what the ratio of the means lies, 95 times of 100, by drawing rounds anew."""
    rounds, chance = list(zip(on, off, strict=True)), Random(1)
    ratios = []
    for _ in range(_RESAMPLES):
        drawn = chance.choices(rounds, k=len(rounds))
        ratios.append(sum(one for one, _ in drawn) / sum(other for _, other in drawn))
    return quantile(ratios, 0.025), quantile(ratios, 0.975)


async def _idle(bench: BenchmarkRun, pairs: dict[str, _Pair]) -> None:
    """Let all nodes be; measure what each uses all the same."""
    for one in pairs.values():
        await wait_until_idle(*one.nodes)
    await trio.sleep(_SETTLED)
    before = {name: sum(one.processor_times().values()) for name, one in pairs.items()}
    began = trio.current_time()
    bench.progress("idle")
    await trio.sleep(_IDLE)
    passed = trio.current_time() - began
    shares = {
        name: 100 * (sum(one.processor_times().values()) - before[name]) / passed / len(one.nodes)
        for name, one in pairs.items()
    }
    bench.data["idle_cpu_percent"] = shares
    for name, what in _WATCHED_BY.items():
        beside = ("unwatched", shares[_OFF])
        bench.row(f"an idle node, {what}", shares[name], "%", beside=beside)


async def _memory(bench: BenchmarkRun) -> None:
    """Read the proportional memory of a node that runs alone and is idle, without the page and with it."""
    found = {name: await _memory_of_node(bench, name) for name in (_OFF, "page")}
    bench.data["memory_mib"] = {
        name: {actor: one.pss / 2**20 for actor, one in node.items()} for name, node in found.items()
    }
    without, page = (sum(one.pss for one in node.values()) / 2**20 for node in found.values())
    exact = all(one.exact for node in found.values() for one in node.values())
    bench.row(
        "memory of an idle node with the page (PSS)",
        page,
        "MiB",
        beside=("without", without),
        note="" if exact else procfs.ROUGH,
    )


async def _memory_of_node(bench: BenchmarkRun, name: str) -> dict[str, procfs.Memory]:
    settings = config(
        bench.folder_for(f"memory-{name}"), "anna", same_host=False, mdns=True, **_VARIANTS[name]
    )
    bench.progress("memory")
    async with open_node(settings) as node:
        await trio.sleep(_SETTLED)
        return {actor: procfs.memory(pid) for actor, pid in (await processes(node)).items()}
