"""Announcing and looking up a code among up to 200 servers that are 50 ms away, a fifth of them of no use.

In virtual time (virtual_dht.py): half of the fifth is dead, half of it lies. The smaller sizes are measured
with real swarms too, in two network namespaces with the same delay between them, where it is allowed: what
is played has to agree with what is. Whoever announces or looks up is new and knows three servers that live.
"""

import hashlib
import os
import random
import signal
from collections.abc import Sequence
from typing import Any

from ..messages.to_discovery import Find, StartProviding
from .benchmark_run import BenchmarkRun, median, quantile
from .distant_hosts import DistantHost, NoNamespacesError, distant_hosts
from .json_processes import JsonProcess, module_command, open_json_process
from .virtual_dht import VirtualDht

_SIZES = (10, 50, 200)
_REAL_SIZES = (10, 50)
_HARM = 0.2
_ONE_WAY_S = 0.05
_LATER_S = 2.0
"""Between an announcement and the lookup that has to find it."""
_PATIENCE_S = 20.0
_KNOWN = 3
_LOOKUPS, _LONG_LOOKUPS, _REAL_LOOKUPS = 200, 2000, 8
_AIM_FOUND, _AIM_P95_S = 0.99, 2.0
_INSTANCE = "0" * 16
_SESSION = "session-00000000000000aa"
_SEED = 11


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    bench.data["networks"] = []
    for size in _SIZES:
        for harm in (0.0, _HARM):
            _virtual(bench, size, harm)
    try:
        with distant_hosts(2, _ONE_WAY_S) as hosts:
            for size in _REAL_SIZES:
                await _real(bench, hosts, size)
    except NoNamespacesError as error:
        bench.note(f"the sizes that are measured with real swarms: {error}")


def _name(size: int, harm: float) -> str:
    return f"{size} servers" + (f", {harm:.0%} dead or lying" if harm else "")


def _virtual(bench: BenchmarkRun, size: int, harm: float) -> None:
    """Look codes up in one network, each 2 s after a new node has begun to announce it."""
    wanted = _LONG_LOOKUPS if bench.long else round(_LOOKUPS * bench.pace)
    dht = VirtualDht(f"{_SEED} {size}", size, _ONE_WAY_S)
    dht.harm(harm)
    times: list[float] = []
    requests: list[int] = []
    for number in range(wanted):
        bench.progress(_name(size, harm), number, wanted)
        key = _key(dht.draw)
        shows, enters = dht.node(_KNOWN), dht.node(_KNOWN)
        dht.tell(shows, _SESSION, StartProviding(key, _INSTANCE))
        dht.run(dht.now + _LATER_S)
        began = dht.now
        dht.tell(enters, _SESSION, Find(key, _INSTANCE))
        provider = shows.named.peer
        if dht.run(began + _PATIENCE_S, lambda found=enters.found, peer=provider: peer in found):  # type: ignore[misc]
            times.append(dht.now - began)
        requests.append(enters.requests)
        dht.end(shows)
        dht.end(enters)
    has_aims = size == max(_SIZES) and harm > 0
    name = _name(size, harm)
    bench.row(
        f"{name}: 95 % within",
        1000 * quantile(times, 0.95),
        "ms",
        aim=1000 * _AIM_P95_S if has_aims else None,
        note=f"median {1000 * median(times):.0f} ms, {median(requests):.0f} requests",
    )
    bench.row(
        f"{name}: found {_LATER_S:.0f} s later",
        100 * len(times) / wanted,
        "%",
        aim=100 * _AIM_FOUND if has_aims else None,
        at="least",
        note=f"{len(times)} of {wanted}",
    )
    bench.data["networks"].append({
        "servers": size,
        "harm": harm,
        "lookups": wanted,
        "found": len(times),
        "median_s": median(times),
        "p95_s": quantile(times, 0.95),
        "requests": median(requests),
    })  # fmt: skip


async def _real(bench: BenchmarkRun, hosts: Sequence[DistantHost], size: int) -> None:
    """Measure the same with real swarms, whole and with a fifth frozen, beside the virtual ones."""
    there, here = hosts
    harmed = round(size * _HARM)
    command = [*there.enter, *module_command("dht_nodes", there.address)]
    async with (
        open_json_process(command) as stays,
        open_json_process(command) as victims,
        open_json_process([*here.enter, *module_command("dht_nodes", here.address)]) as client,
    ):
        bench.progress(f"{size} real servers start")
        alive = (await stays.request(servers=size - harmed, known=[], seed=str(_SEED)))["nodes"]
        await victims.request(servers=harmed, known=alive, seed=str(_SEED + 1))
        for harm in (0.0, _HARM):
            if harm:
                os.kill(victims.pid, signal.SIGSTOP)
            try:
                found = await _looked_up(bench, client, alive, size, harm)
            finally:
                os.kill(victims.pid, signal.SIGCONT)
            (played,) = [
                one
                for one in bench.data["networks"]
                if (one["servers"], one["harm"]) == (size, harm) and "real" not in one
            ]
            bench.row(
                f"{size} real servers{', a fifth frozen' if harm else ''}: looked up, median",
                1000 * median([one["seconds"] for one in found if one["seconds"] is not None]),
                "ms",
                beside=("virtual", 1000 * played["median_s"]),
                note=f"{median([one['requests'] for one in found]):.0f} requests; "
                f"virtual {played['requests']:.0f}",
            )
            played["real"] = found


async def _looked_up(
    bench: BenchmarkRun, client: JsonProcess, alive: list[Any], size: int, harm: float
) -> list[Any]:
    draw = random.Random(f"{_SEED} {size} {harm}")
    found = []
    for _ in bench.repeat(f"{size} real servers", _REAL_LOOKUPS, 30.0, least=3):
        key = _key(draw).hex()
        some, others = (draw.sample(alive, min(_KNOWN, len(alive))) for _ in range(2))
        announced = await client.request(announce=key, known=some)
        found.append(await client.request(find=key, provider=announced["provider"], known=others))
    return found


def _key(draw: random.Random) -> bytes:
    return b"\x12\x20" + hashlib.sha256(draw.randbytes(32)).digest()
