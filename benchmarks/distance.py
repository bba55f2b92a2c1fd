"""What distance costs: transports at round trips of 50 and 150 ms, and a whole pairing at 100 ms.

Hosts in network namespaces with a delay between them (distant_hosts.py). Round trips themselves are counted
exactly by tests/counts; here is what comes on top, and how much a delay leaves of the bulk.
"""

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from ..client.node_client import NodeClient, Pairing, open_client
from .benchmark_run import BenchmarkRun, median
from .distant_hosts import DistantHost, NoNamespacesError, distant_hosts
from .json_processes import ProcessFailedError, module_command, open_json_process
from .nodes import wait_until_connected

KINDS = {"tcp": "TCP", "quic": "QUIC", "ws": "WebSocket", "library-quic": "the library's QUIC"}
LIBRARY_TCP = "library-tcp"
ROUND_TRIPS_MS = (50, 150)
PAIRING_ROUND_TRIP_MS = 100
AIMS = {"tcp": (5, 7), "quic": (4, 6)}
"""Round trips from `join` to both confirm, and to both paired (tests/counts/test_distant_pairing.py)."""
_RUNS, _SECONDS = 3, 12.0
_REQUESTS = 5
_BULK = 2_000_000
_PAIRINGS = 5
_PORT = 7520
_READY = 60.0
_FORMS = {"tcp": "/ip4/{}/tcp/{}", "quic": "/ip4/{}/udp/{}/quic-v1"}


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark; where there are no namespaces, say so."""
    bench.data["distance"] = {}
    try:
        for milliseconds in ROUND_TRIPS_MS:
            with distant_hosts(2, milliseconds / 2000) as (here, there):
                await _transports(bench, milliseconds, here, there)
        with distant_hosts(3, PAIRING_ROUND_TRIP_MS / 2000) as hosts:
            for transport in AIMS:
                await _pairings(bench, transport, hosts)
    except (NoNamespacesError, subprocess.CalledProcessError) as missing:
        bench.note(f"nothing at a distance: {missing}")


async def _transports(bench: BenchmarkRun, ms: int, here: DistantHost, there: DistantHost) -> None:
    found: dict[str, dict[str, float]] = {}
    for kind in (*KINDS, LIBRARY_TCP):
        bench.progress(f"{kind} at {ms} ms")
        try:
            found[kind] = await _transport(bench, kind, here, there)
        except ProcessFailedError as failed:
            bench.note(f"{kind} at {ms} ms: {failed}")
    bench.data["distance"][f"transports at {ms} ms"] = found
    trip = ("a round trip", float(ms))
    for kind, one in found.items():
        name = KINDS.get(kind, "the library's TCP")
        bench.row(f"{ms} ms: connect over {name}", one["connect"], "ms", beside=trip)
        bench.row(f"{ms} ms: request over {name}, new stream", one["request"], "ms", beside=trip)
    for way in ("up", "down"):
        beside = ("QUIC", found["quic"][way])
        for kind in (one for one in found if one != "quic"):
            name = KINDS.get(kind, "the library's TCP")
            bench.row(f"{ms} ms: bulk over {name}, {way}", found[kind][way], "MB/s", beside=beside)


async def _transport(
    bench: BenchmarkRun, kind: str, here: DistantHost, there: DistantHost
) -> dict[str, float]:
    module = module_command("comparisons.transport_host", kind)
    async with (
        open_json_process([*there.enter, *module, "serve", there.address]) as serving,
        open_json_process([*here.enter, *module, "dial"]) as dialling,
    ):
        server = await serving.receive()
        await dialling.receive()
        order = {"address": server["address"], "peer": server["peer"], "requests": _REQUESTS, "bulk": _BULK}
        runs = [
            await dialling.request(**order) for _ in bench.repeat(kind, _RUNS, _SECONDS / len(KINDS), least=2)
        ]
    return {
        "connect": 1000 * median([one["connect"] for one in runs]),
        "request": 1000 * median([each for one in runs for each in one["requests"]]),
        **{way: median([_BULK / 1e6 / one[way] for one in runs]) for way in ("up", "down")},
    }


async def _pairings(bench: BenchmarkRun, transport: str, hosts: list[DistantHost]) -> None:
    """Pair two nodes that know a third one only, each time over a new connection."""
    folder = bench.folder_for(f"distant-{transport}")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(_node(folder, "server", transport, hosts[0]))
        more = ["--dht-mode", "client", "--bootstrap", server["dial"][0]]
        lines = [
            await stack.enter_async_context(_node(folder, name, transport, host, *more))
            for name, host in zip(("anna", "bruno"), hosts[1:], strict=True)
        ]
        a, b = [await stack.enter_async_context(open_client(Path(line["control"]))) for line in lines]
        await wait_until_connected(a, b)
        confirmed, paired = [], []
        for _ in bench.repeat(f"pairings over {transport} at a distance", _PAIRINGS, 20.0, least=3):
            times = await _pairing(a, b)
            confirmed.append(times[0])
            paired.append(times[1])
    bench.data["distance"][f"pairing over {transport}"] = {"confirm": confirmed, "paired": paired}
    trip = ("a round trip", float(PAIRING_ROUND_TRIP_MS))
    for what, found, aim in zip(("confirm", "paired"), (confirmed, paired), AIMS[transport], strict=True):
        name = f"join to both {what} at {PAIRING_ROUND_TRIP_MS} ms, over {transport}, found by the DHT"
        bench.row(name, 1000 * median(found), "ms", beside=trip, aim=float(aim + 1), of_ratio=True)


async def _pairing(a: NodeClient, b: NodeClient) -> tuple[float, float]:
    """Return the seconds from `join` until both users see the other device, and until both are paired."""
    showing = await a.start_pairing()
    for device in await b.devices():  # closes the connection
        await b.forget(device.device_id)
    await trio.sleep(4 * PAIRING_ROUND_TRIP_MS / 1000)  # not a wait for an event: the code gets to the server
    confirmed: list[float] = []
    paired: list[float] = []
    began = time.monotonic()

    async def finish(pairing: Pairing) -> None:
        await pairing.confirmation()
        confirmed.append(time.monotonic() - began)
        await pairing.accept()
        await pairing.paired()
        paired.append(time.monotonic() - began)

    joining = await b.join_pairing(" ".join(showing.code.words), timeout=_READY)
    with trio.fail_after(_READY):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish, showing)
            nursery.start_soon(finish, joining)
    return max(confirmed), max(paired)


@asynccontextmanager
async def _node(
    folder: Path, name: str, transport: str, host: DistantHost, *more: str
) -> AsyncIterator[dict[str, Any]]:
    """Run `sdnode up` on a host; give its line `ready`."""
    listen = _FORMS[transport].format(host.address, _PORT)
    command = [
        *host.enter, sys.executable, "-m", "spacedrive_node", "up", "--json",
        "--data-dir", str(folder / name),
        "--control", str(folder / f"{name}.sock"), "--listen", listen, "--metrics-listen", "off", "--no-mdns",
        "--no-same-host", "--log-level", "warning", *more,
    ]  # fmt: skip
    async with open_json_process(command) as process:
        line = await process.receive(_READY)
        try:
            yield line
        finally:
            process.process.terminate()
