"""Announcing and looking up a code among Kademlia servers on this machine, some of them frozen or dead.

Each server is the real swarm and discovery of a node; there are many in each process. Whoever announces, and
whoever looks up, is new in the network each time: it knows three live servers, and has to dial all others.
Beside it the library's own lookup (libp2p's KadDHT), which begins in the same way.
"""

import hashlib
import os
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import trio

from .benchmark_run import BenchmarkRun, median
from .json_processes import JsonProcess, module_command, open_json_process

_SIZES = (2, 20, 100)
_HARMS = ("none", "frozen", "dead")
_PROCESSES = 4
"""That hold the servers which stay; one more has those that come to harm."""
_VICTIMS = 0.2
_LOOKUPS, _SECONDS = 8, 6.0
_BY_LIBRARY = 1
"""Lookups by the library's own means, which may last until it is given up: so many in each network."""
_SETTLED = 1.0
_KNOWN = 3
SEED = 7

Node = dict[str, Any]


@dataclass
class Network:
    """The servers that stay, and the process of those that come to harm (0: there are none)."""

    stay: list[Node] = field(default_factory=list)
    victims_pid: int = 0


async def run(bench: BenchmarkRun) -> None:
    """Run the benchmark."""
    bench.data["networks"] = []
    for size in _SIZES:
        async with (
            open_json_process(module_command("comparisons.library_dht")) as library,
            open_json_process(module_command("dht_nodes")) as client,
        ):
            await library.receive()
            async with _servers(bench, size, int(size * _VICTIMS)) as network:
                for harm in _harms(bench, size):
                    await _under(bench, client, library, network, size, harm)


def _harms(bench: BenchmarkRun, size: int) -> Sequence[str]:
    """Frozen servers are the worse ones: the dead among many are left to the long run."""
    if size * _VICTIMS < 1:
        return _HARMS[:1]
    return _HARMS if bench.long or size < _SIZES[-1] else _HARMS[:2]


async def _under(
    bench: BenchmarkRun, client: JsonProcess, library: JsonProcess, network: Network, size: int, harm: str
) -> None:
    """Measure one network, first whole, then with some of it frozen, then with these dead."""
    name = f"{size} servers" + ("" if harm == "none" else f", {_VICTIMS:.0%} {harm}")
    draw = random.Random(f"{SEED} {name}")
    if harm != "none":
        os.kill(network.victims_pid, signal.SIGSTOP if harm == "frozen" else signal.SIGKILL)
    await trio.sleep(_SETTLED)
    found: dict[str, list[Any]] = {"announce": [], "find": [], "library": [], "closest": []}
    for _ in bench.repeat(name, _LOOKUPS, _SECONDS, least=3 if bench.pace == 1.0 else 2):
        await _once(client, library, network, draw, found)
    _rows(bench, name, found)
    bench.data["networks"].append({"servers": size, "harm": harm, **found})


@asynccontextmanager
async def _servers(bench: BenchmarkRun, size: int, victims: int) -> AsyncIterator[Network]:
    """Run so many servers in some processes: the first of them alone, the others through those of the
    first.
    """
    network = Network()
    stay = size - victims
    share = [len(range(number, stay, _PROCESSES)) for number in range(_PROCESSES)]
    async with AsyncExitStack() as stack:

        async def start(number: int, known: list[Node]) -> tuple[list[Node], int]:
            process = await stack.enter_async_context(open_json_process(module_command("dht_nodes")))
            answer = await process.request(servers=number, known=known, seed=f"{SEED} {process.pid}")
            bench.progress("servers have started", number + len(network.stay), size)
            return answer["nodes"], process.pid

        async def more(number: int, first: list[Node]) -> None:
            network.stay += (await start(number, first))[0]

        async def harmed(number: int, first: list[Node]) -> None:
            _nodes, network.victims_pid = await start(number, first)

        bench.progress(f"{size} servers start")
        first, _pid = await start(share[0], [])
        network.stay += first
        async with trio.open_nursery() as nursery:
            for number in filter(None, share[1:]):
                nursery.start_soon(more, number, first)
            if victims:
                nursery.start_soon(harmed, victims, first)
        try:
            yield network
        finally:
            if network.victims_pid:
                with suppress(ProcessLookupError):
                    os.kill(
                        network.victims_pid, signal.SIGKILL
                    )  # frozen, it would not see the end of its input


async def _once(
    client: JsonProcess,
    library: JsonProcess,
    network: Network,
    draw: random.Random,
    found: dict[str, list[Any]],
) -> None:
    """Announce one key; look it up by both ways."""
    key = (b"\x12\x20" + hashlib.sha256(draw.randbytes(32)).digest()).hex()
    some, others = (draw.sample(network.stay, min(_KNOWN, len(network.stay))) for _ in range(2))
    announced = await client.request(announce=key, known=some)
    found["announce"].append(announced)
    found["find"].append(await client.request(find=key, provider=announced["provider"], known=others))
    if len(found["library"]) < _BY_LIBRARY and not _gave_up(found["library"]):
        found["library"].append(await library.request(find=key, known=others))
        if not found["library"][-1].get("gave_up"):
            found["closest"].append(await library.request(closest=key, known=others))


def _rows(bench: BenchmarkRun, name: str, found: dict[str, list[Any]]) -> None:
    announced, looked, theirs = found["announce"], found["find"], found["library"]
    bench.row(
        f"{name}: announced to the first",
        1000 * _median(announced, "first"),
        "ms",
        note=f"to {_median(announced, 'servers'):.0f} in {_median(announced, 'all'):.2f} s, "
        f"{_median(announced, 'requests'):.0f} requests",
    )
    missed = sum(one["seconds"] is None for one in looked)
    bench.row(
        f"{name}: looked up",
        1000 * _median(looked, "seconds"),
        "ms",
        beside=("given up" if _gave_up(theirs) else "KadDHT", 1000 * _median(theirs, "seconds")),
        note=f"{_median(looked, 'hops'):.0f} hops, {_median(looked, 'requests'):.0f} requests; "
        f"KadDHT {_median(theirs, 'requests'):.0f}" + (f"; {missed} not found" if missed else ""),
    )


def _gave_up(theirs: list[Any]) -> bool:
    return any(one.get("gave_up") for one in theirs)


def _median(found: list[Any], name: str) -> float:
    return median([one[name] for one in found if one.get(name) is not None])
