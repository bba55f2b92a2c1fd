"""How long a pairing takes between two warm nodes of one host, beside what it could not be done without.

The three things are done in turn, so that whatever else this machine does falls on all of them alike:

- a pairing, over a connection that exists and over one that has to be made;
- a connection and four requests, as many as a pairing makes, of the same size as its first, between two
  plain libp2p hosts in two processes, with the project's corrections; and as many between two hosts as the
  library makes them;
- a short text through magic-wormhole, whose processes are as warm.
"""

from contextlib import AsyncExitStack

import trio

from ..client.embedded import Node, open_node
from ..messages.base import encode
from ..messages.peer_protocol import Challenge, PairingRequest
from .benchmark_run import BenchmarkRun, median, quantile, summary
from .comparisons import magic_wormhole
from .json_processes import JsonProcess, module_command, open_json_process
from .metrics_scrape import metric_value
from .nodes import bootstrap, config, disconnect, pair, port, two_nodes, wait_until_connected
from .pairing_costs import processor_time, traced

AIM = 0.100
AIM_OVER_BARE = 3.0
AIM_OVER_BARE_EXCHANGES = 2.0
AIM_OVER_WORMHOLE = 0.7
_ENOUGH, _MOST, _SECONDS, _SECONDS_LONG = 100, 400, 45.0, 150.0
_BARE_EVERY, _WORMHOLE_EVERY = 2, 4
"""One in so many times what stands beside is done too."""
_EXCHANGES = 4
"""Of a pairing, one after another; so many bare requests stand beside it."""
_BY_DHT = 6
_ANNOUNCED = 60.0


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    async with two_nodes(bench, "pairing") as (a, b), AsyncExitStack() as stack:
        bare = Bare(
            await stack.enter_async_context(
                open_json_process(module_command("comparisons.bare_host", "serve"))
            ),
            await stack.enter_async_context(
                open_json_process(module_command("comparisons.bare_host", "dial"))
            ),
        )
        await bare.begin()
        library = Library(
            await stack.enter_async_context(
                open_json_process(module_command("comparisons.transport_host", "library-tcp", "serve"))
            ),
            await stack.enter_async_context(
                open_json_process(module_command("comparisons.transport_host", "library-tcp", "dial"))
            ),
        )
        await library.begin()
        beside = await stack.enter_async_context(magic_wormhole.warm(bench))
        times: dict[str, list[float]] = {
            "connected": [],
            "fresh": [],
            "bare": [],
            "exchange": [],
            "bare_exchanges": [],
            "library_exchanges": [],
            "wormhole": [],
        }
        ports = (port(a), port(b))
        seconds = _SECONDS_LONG if bench.long else _SECONDS
        for number in bench.repeat("pairings", _MOST, seconds, least=20):
            if min(len(times["connected"]), len(times["fresh"])) >= _ENOUGH:
                break
            if len(times["connected"]) < _ENOUGH:
                times["connected"].append((await pair(a, b)).seconds)
            showing = await a.start_pairing()
            kind = "fresh" if await disconnect(b, ports) else "connected"
            times[kind].append((await pair(a, b, showing)).seconds)
            if number % _BARE_EVERY == 0:
                connect, requests = await bare.once()
                times["bare"].append(connect + requests[0])
                times["exchange"].append(requests[0])
                times["bare_exchanges"].append(connect + sum(requests))
                times["library_exchanges"].append(await library.once())
            if beside is not None and number % _WORMHOLE_EVERY == 0:
                times["wormhole"].append((await beside.transfer()).seconds)
        bench.data["seconds"] = {name: summary(values) for name, values in times.items()}
        bench.data["samples"] = times
        _rows(bench, times)
        await processor_time(bench, a, b)
    await traced(bench)
    await _by_dht(bench)


class Bare:
    """Two plain hosts; one connects with the other, asks as often as a pairing does, and closes."""

    def __init__(self, server: JsonProcess, dialer: JsonProcess) -> None:
        self._server, self._dialer = server, dialer

    async def begin(self) -> None:
        """Wait until both are there, and make them warm."""
        self._where = await self._server.receive()
        await self._dialer.receive()
        self._size, self._answer = sizes()
        for _ in range(3):
            await self.once()

    async def once(self) -> tuple[float, list[float]]:
        """Return the seconds of the connection and of each request on it."""
        took = await self._dialer.request(
            **self._where, requests=_EXCHANGES, size=self._size, answer=self._answer
        )
        return took["connect"], took["requests"]


class Library:
    """Two hosts as the library makes them, that do the same; their requests and answers have 32 bytes."""

    def __init__(self, server: JsonProcess, dialer: JsonProcess) -> None:
        self._server, self._dialer = server, dialer

    async def begin(self) -> None:
        """Wait until both are there, and make them warm."""
        where = await self._server.receive()
        self._where = {"address": where["address"], "peer": where["peer"]}
        await self._dialer.receive()
        for _ in range(3):
            await self.once()

    async def once(self) -> float:
        """Return the seconds of the connection and all requests on it."""
        took = await self._dialer.request(**self._where, requests=_EXCHANGES, bulk=1)
        return float(took["connect"] + sum(took["requests"]))


def sizes() -> tuple[int, int]:
    """Return the bytes of the first request of a pairing and of its answer."""
    few, many = bytes(16), bytes(32)
    request = PairingRequest(v=2, code_id=few, attempt=few, eph=many, commit=many)
    answer = Challenge(code_id=few, attempt=few, eph=many, nonce=many, proof=many)
    return len(encode(request)), len(encode(answer))


def _rows(bench: BenchmarkRun, times: dict[str, list[float]]) -> None:
    milliseconds = {name: [1000 * value for value in values] for name, values in times.items()}
    bare = ("bare connect + request", median(milliseconds["bare"]))
    for name, what in (("connected", "a connection exists"), ("fresh", "a new connection")):
        found = milliseconds[name]
        count = f"n = {len(found)}"
        bench.row(f"join to both paired, {what}", median(found), "ms", aim=1000 * AIM, note=count)
        bench.row(f"… its 95th percentile, {what}", quantile(found, 0.95), "ms")
        bench.row(
            f"… over bare libp2p, {what}", median(found), "ms", aim=AIM_OVER_BARE, beside=bare, of_ratio=True
        )
    bench.row(
        "… over 4 bare requests, a new connection",
        median(milliseconds["fresh"]),
        "ms",
        aim=AIM_OVER_BARE_EXCHANGES,
        beside=("connect + 4 requests", median(milliseconds["bare_exchanges"])),
        of_ratio=True,
    )
    bench.row(
        "… over 4 requests of the library, a new connection",
        median(milliseconds["fresh"]),
        "ms",
        beside=("its connect + 4 requests", median(milliseconds["library_exchanges"])),
        of_ratio=True,
    )
    if milliseconds["wormhole"]:
        other = ("magic-wormhole, warm", median(milliseconds["wormhole"]))
        bench.row(
            "… over magic-wormhole, a new connection", median(milliseconds["fresh"]), "ms", beside=other
        )


async def _by_dht(bench: BenchmarkRun) -> None:
    """Two nodes that know a third one only: the code is announced to it and looked up through it."""
    folder = bench.folder_for("dht")
    bench.progress("three nodes start")
    async with open_node(config(folder, "server", same_host=False)) as server:
        known = {"same_host": False, "bootstrap": (bootstrap(server),)}
        async with (
            open_node(config(folder, "anna", metrics_listen="127.0.0.1:0", **known)) as a,
            open_node(config(folder, "bruno", **known)) as b,
        ):
            await wait_until_connected(a, b)
            found = await _pairings_by_dht(bench, a, b)
    bench.data["seconds"]["dht"] = summary(found)
    bench.row(
        "join to both paired, found by the DHT",
        1000 * median(found),
        "ms",
        aim=1000 * AIM,
        note=f"n = {len(found)}",
    )


async def _pairings_by_dht(bench: BenchmarkRun, a: Node, b: Node) -> list[float]:
    codes = [await a.start_pairing() for _ in range(_BY_DHT)]
    with trio.fail_after(_ANNOUNCED):
        while (announced := await _announced(a)) < _BY_DHT:
            bench.progress("codes are announced to a DHT server", announced, _BY_DHT)
            await trio.sleep(0.2)
    return [
        (await pair(a, b, codes[number])).seconds
        for number in bench.repeat("pairings by the DHT", _BY_DHT, 30.0)
    ]


async def _announced(node: Node) -> int:
    labels = {"operation": "announce", "outcome": "stored"}
    return int(await metric_value(node, "dht_query_seconds_count", **labels))
