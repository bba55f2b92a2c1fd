"""A node as `sdnode up` runs it, with its frames recorded: `traced_node FOLDER NAME`.

Speaks JSON lines (json_processes.py): prints {"control", "addresses", "peer"} when ready. {"begin": true}
drops what it has recorded; {"end": true} is answered with {"passed": […]}. Ends with its input.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import trio

from ..node import Ready, serve
from ..protocol.peer_ids import peer_id_text
from .frame_recorder import Recorder
from .nodes import config


def _log(actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
    if level in ("warning", "error"):
        print(actor, level, event, dict(fields), file=sys.stderr)


async def _main(folder: Path, name: str) -> None:
    recorder = Recorder(recording=False)
    stop = trio.Event()

    def ready(line: Ready) -> None:
        peer = peer_id_text(line.peer)
        print(json.dumps({"control": line.control, "addresses": line.addresses, "peer": peer}), flush=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_obey, recorder, stop)
        await serve(config(folder, name), spawner=recorder, stop=stop, ready=ready, log=_log)
        nursery.cancel_scope.cancel()


async def _obey(recorder: Recorder, stop: trio.Event) -> None:
    buffer = bytearray()
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        while data := await stdin.receive_some(4096):
            buffer += data
            while (end := buffer.find(b"\n")) >= 0:
                order = json.loads(buffer[:end])
                del buffer[: end + 1]
                recorder.recording = "begin" in order
                passed = [] if recorder.recording else recorder.passed()
                recorder.clear()
                print(msgspec.json.encode({"passed": passed}).decode(), flush=True)
    stop.set()


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]), sys.argv[2])
