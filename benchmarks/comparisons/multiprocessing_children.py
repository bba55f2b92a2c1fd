"""Children of Python's own module multiprocessing, to compare sessions with: `… spawn | forkserver`.

Each child imports what a session needs and answers one message. In the fork server it is imported already.
Speaks JSON lines (benchmarks/json_processes.py):

    {"times": n}    →  {"seconds": [from the start of a child to its answer, …]}
    {"memory": n}   →  {"private": [bytes of each of n children at once, …]}
"""

import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from .. import procfs

SESSION = "spacedrive_node.actors.session"


def answer(pipe: Connection) -> None:
    """Be the child: import, answer, wait to be ended."""
    __import__(SESSION)
    pipe.send_bytes(pipe.recv_bytes())
    pipe.recv_bytes()


def _begin(context: Any) -> tuple[BaseProcess, Connection]:
    mine, theirs = context.Pipe()
    process = context.Process(target=answer, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    mine.send_bytes(b"first")
    mine.recv_bytes()
    return process, mine


def _end(process: BaseProcess, pipe: Connection) -> None:
    pipe.send_bytes(b"last")
    process.join()
    pipe.close()


def _times(context: Any, number: int) -> list[float]:
    found = []
    for _ in range(number + 1):
        began = time.monotonic()
        child = _begin(context)
        found.append(time.monotonic() - began)
        _end(*child)
    return found[1:]  # the first starts the fork server too


def _memory(context: Any, number: int) -> list[int]:
    running = [_begin(context) for _ in range(number)]
    found = [procfs.memory(process.pid or 0).private for process, _pipe in running]
    for child in running:
        _end(*child)
    return found


def main() -> None:
    """Answer lines until standard input ends."""
    context = multiprocessing.get_context(sys.argv[1])
    if sys.argv[1] == "forkserver":
        context.set_forkserver_preload([SESSION])
    for line in sys.stdin:
        order = json.loads(line)
        if "times" in order:
            reply: dict[str, Any] = {"seconds": _times(context, order["times"])}
        else:
            reply = {"private": _memory(context, order["memory"])}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
