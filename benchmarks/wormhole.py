"""magic-wormhole beside us: its mailbox server on loopback, and two warm processes that use it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from .bench import Bench
from .nodes import Times
from .processes import Talker, talker

TEXT = "twelve words are enough"
PARTY = Path(__file__).parent / "beside" / "wormhole_party.py"
ABSENT = "magic-wormhole is left out: .venv-bench could not be made (`make .venv-bench/.installed` says why)"


@dataclass(frozen=True, slots=True)
class Wormhole:
    """A mailbox server, and two processes that use it."""

    url: str
    sender: Talker
    receiver: Talker

    async def transfer(self) -> Times:
        """Send one text; from the entering of the code until both sides know that it has arrived."""
        code = (await self.sender.ask(text=TEXT))["code"]
        await self.receiver.say(code=code)
        ends = [(await party.hear())["done"] for party in (self.sender, self.receiver)]
        began = (await self.receiver.hear())["began"]
        return Times(began, *ends)


@asynccontextmanager
async def mailbox(bench: Bench) -> AsyncIterator[str | None]:
    """Run a mailbox server; the block gets its URL, or None when magic-wormhole is not installed."""
    if bench.python_beside is None:
        bench.note(ABSENT)
        yield None
        return
    database = bench.folder_for("mailbox") / "relay.sqlite"
    async with talker([str(bench.python_beside), str(PARTY), "mailbox", str(database)]) as server:
        yield f"ws://127.0.0.1:{(await server.hear())['port']}/v1"


@asynccontextmanager
async def warm(bench: Bench) -> AsyncIterator[Wormhole | None]:
    """Run all of it; the block gets None when it is not installed."""
    async with mailbox(bench) as url:
        if url is None:
            yield None
            return
        party = [str(bench.python_beside), str(PARTY)]
        async with talker([*party, "send", url]) as sender, talker([*party, "receive", url]) as receiver:
            for one in (sender, receiver):
                await one.hear()
            made = Wormhole(url, sender, receiver)
            for _ in range(3):
                await made.transfer()
            yield made
