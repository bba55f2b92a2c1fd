"""Runs the models of tests/formal through spin: what must hold, and the mistakes that the models must see.

Needs spin and a C compiler. A search is exhaustive or counts as unknown. Each runs in a directory of its own.
"""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MODELS = Path(__file__).parents[1] / "formal"
SEARCH_TIMEOUT_S = 600
_MEMORY_MIB = 3000
_MAX_DEPTH = 1_000_000

Result = Literal["holds", "fails", "unknown"]

ALL = "REJECTED ALONE GRANTED KEPT AGREED"
STEPS = "ONCE ONE_FRAME FINISHES"
ONE_PAIRING = "KILL FULL SLOW DELAY"


@dataclass(frozen=True)
class Search:
    """One search: a model with these macros defined, and what has to come out."""

    name: str
    model: str
    macros: str
    expected: Result = "holds"
    long: bool = False


def _fails(name: str, model: str, macros: str) -> Search:
    return Search(name, model, macros, "fails")


SEARCHES = (
    Search("one pairing", "ending", f"{ALL} {ONE_PAIRING} FORGET"),
    Search("two pairings, clocks far apart", "ending", f"PAIRINGS=2 {ALL} CLOCK1=3 BOUND=1"),
    Search("steps", "steps", STEPS),
    Search("two pairings, kills, full and slow", "ending", f"PAIRINGS=2 {ALL} KILL FULL SLOW", long=True),
    Search("two pairings, forgetting", "ending", f"PAIRINGS=2 {ALL} KILL FULL SLOW FORGET", long=True),
    Search("two pairings, answers delayed", "ending", f"PAIRINGS=2 {ALL} DELAY", long=True),
    Search("steps, five kills", "steps", f"{STEPS} KILLS=5", long=True),
    # what was found once, and has been mended
    _fails("C1: unconfirmed entries age", "ending", f"ALONE C1_AGES {ONE_PAIRING}"),
    _fails("C2: forgetting lets pairings go on", "ending", "PAIRINGS=2 AGREED FORGET C2_GOES_ON"),
    _fails("C3: the order is bounded", "ending", "PAIRINGS=2 AGREED CLOCK1=3 BOUND=1 C3_BOUNDED"),
    _fails("C4: a vault stores too late", "ending", f"ALONE C4_LATE {ONE_PAIRING}"),
    # other mistakes
    _fails("sent before it is stored", "ending", f"ALONE SEND_FIRST {ONE_PAIRING}"),
    _fails("acknowledged before it is stored", "ending", f"ALONE ACKNOWLEDGE_FIRST {ONE_PAIRING}"),
    _fails("in use by answering", "ending", f"GRANTED ANSWER_PAIRS {ONE_PAIRING}"),
    _fails("the reply is not kept", "ending", f"AGREED NO_REPLY {ONE_PAIRING}"),
    _fails("the last is in use", "ending", "PAIRINGS=2 AGREED LAST_WINS"),
    _fails("output before the step", "steps", "ONE_FRAME OUTPUT_FIRST"),
    _fails("no checkpoint with the step", "steps", "ONCE NO_CHECKPOINT"),
    _fails("no journal", "steps", "ONCE NO_JOURNAL"),
    _fails("another id when delivered again", "steps", "ONCE NEW_ID"),
    _fails("the swarm's restart is not told", "steps", "FINISHES NOT_TOLD"),
    # the models come to the end that everything is about
    _fails("one pairing is reached", "ending", "REACHED"),
    _fails("two pairings are reached", "ending", "PAIRINGS=2 REACHED"),
    _fails("the end of the steps is reached", "steps", "REACHED"),
)


def missing_tools() -> list[str]:
    """Return what has to be installed first."""
    return [tool for tool in ("spin", "cc") if shutil.which(tool) is None]


def search(one: Search, *, trace: bool = False) -> tuple[Result, int, str]:
    """Return what came out, the number of states, and the trace of a failure if it was asked for."""
    macros = [f"-D{macro}" for macro in one.macros.split()]
    model = str(MODELS / f"{one.model}.pml")
    with tempfile.TemporaryDirectory() as directory:

        def run(*command: str) -> str:
            done = subprocess.run(
                command,
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=SEARCH_TIMEOUT_S,
                check=False,
            )
            assert done.returncode in (0, 1), done.stdout + done.stderr
            return done.stdout + done.stderr

        run("spin", "-a", *macros, model)
        optimize = "-O2" if one.expected == "holds" else "-O0"
        run("cc", optimize, "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={_MEMORY_MIB}", "-o", "pan", "pan.c")
        said = run("./pan", f"-m{_MAX_DEPTH}", "-w22")
        told = ""
        if trace and "errors: 0" not in said:
            replay = run("spin", "-t", *macros, "-k", next(Path(directory).glob("*.trail")).name, model)
            told = "\n".join(line.strip() for line in replay.splitlines() if "MSC: " in line)
    states = re.search(r"([0-9.e+]+) states, stored", said)
    return _result(said), int(float(states[1])) if states else 0, told


def _result(said: str) -> Result:
    if "assertion violated" in said:
        return "fails"
    complete = not re.search("max search depth|out of memory|not completed", said)
    return "holds" if complete and "errors: 0" in said else "unknown"
