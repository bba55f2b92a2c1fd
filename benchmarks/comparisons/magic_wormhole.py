"""magic-wormhole, to compare pairings with: its mailbox server on loopback, and two warm processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ..benchmark_run import BenchmarkRun
from ..json_processes import JsonProcess, open_json_process
from ..nodes import PairingTimes

TEXT = "twelve words are enough"
PARTY = Path(__file__).with_name("wormhole_party.py")
ABSENT = "magic-wormhole is left out: .venv-bench could not be made (`make .venv-bench/.installed` says why)"


@dataclass(frozen=True, slots=True)
class Wormhole:
    """A mailbox server, and two processes that use it."""

    url: str
    sender: JsonProcess
    receiver: JsonProcess

    async def transfer(self) -> PairingTimes:
        """Send one text.

        The time runs from the entering of the code until both sides know that it has arrived.
        """
        code = (await self.sender.request(text=TEXT))["code"]
        await self.receiver.send(code=code)
        ends = [(await party.receive())["done"] for party in (self.sender, self.receiver)]
        began = (await self.receiver.receive())["began"]
        return PairingTimes(began, *ends)


@asynccontextmanager
async def mailbox(bench: BenchmarkRun) -> AsyncIterator[str | None]:
    """Run a mailbox server. Yields its URL, None if magic-wormhole is not installed."""
    if bench.bench_python is None:
        bench.note(ABSENT)
        yield None
        return
    database = bench.folder_for("mailbox") / "relay.sqlite"
    async with open_json_process([str(bench.bench_python), str(PARTY), "mailbox", str(database)]) as server:
        yield f"ws://127.0.0.1:{(await server.receive())['port']}/v1"


@asynccontextmanager
async def warm(bench: BenchmarkRun) -> AsyncIterator[Wormhole | None]:
    """Run a mailbox server and both processes. Yields None if magic-wormhole is not installed."""
    async with mailbox(bench) as url:
        if url is None:
            yield None
            return
        party = [str(bench.bench_python), str(PARTY)]
        async with (
            open_json_process([*party, "send", url]) as sender,
            open_json_process([*party, "receive", url]) as receiver,
        ):
            for one in (sender, receiver):
                await one.receive()
            made = Wormhole(url, sender, receiver)
            for _ in range(3):
                await made.transfer()
            yield made
