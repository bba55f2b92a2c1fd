"""How many messages pass the supervisor in a second, with routes, steps and checkpoints."""

from .benchmark_run import BenchmarkRun, median
from .json_processes import module_command, open_json_process

AIM = 20_000.0
_SESSIONS = (1, 4)
_MESSAGES = 16_000
_RUNS = 2


async def run(bench: BenchmarkRun) -> None:
    """Flood a node of tiny actors (flood_node.py) with few and with many senders."""
    bench.data["floods"] = []
    for sessions in _SESSIONS:
        runs = []
        for number in range(_RUNS):
            bench.progress(f"{sessions} senders", number, _RUNS)
            async with open_json_process(
                module_command("flood_node", str(sessions), str(_MESSAGES // sessions))
            ) as flood:
                runs.append(await flood.receive())
        rate = median([one["messages"] / one["seconds"] for one in runs])
        by_processor = median([one["messages"] / one["processor"] for one in runs])
        bench.data["floods"].append(
            {"senders": sessions, "per_second": rate, "per_second_of_processor": by_processor, "runs": runs}
        )
    best = max(bench.data["floods"], key=lambda one: float(one["per_second"]))
    bench.row(
        "messages a second",
        best["per_second"],
        "/s",
        aim=AIM,
        at="least",
        beside=("per second of its CPU time", best["per_second_of_processor"]),
        note=f"{best['senders']} senders",
    )
