"""One party of magic-wormhole in a warm process: `mailbox DATABASE`, `send URL` or `receive URL`.

Runs in .venv-bench, without the project. The mailbox server prints its port. The others take
one JSON line for each text on standard input and answer with JSON lines; times are of the monotonic clock, in
nanoseconds, which all processes of a machine share. Ends when standard input ends.

    send     {"text"}  →  {"code"} as soon as there is one, {"done": ns} when the other has acknowledged
    receive  {"code"}  →  {"done": ns} when the text is there, {"began": ns} of when it took the code
"""

import json
import sys
import time
from typing import Any

from twisted.internet import defer, reactor, stdio
from twisted.protocols.basic import LineOnlyReceiver

APPLICATION = "benchmark/text"


def say(**line: object) -> None:
    """Write one line to the process that started this one."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Orders(LineOnlyReceiver):  # type: ignore[misc]
    """Standard input, line by line."""

    delimiter = b"\n"

    def __init__(self, obey: Any) -> None:
        self._obey = obey

    def lineReceived(self, line: bytes) -> None:
        """Obey one line; an error ends the process, and so the benchmark."""
        defer.ensureDeferred(self._obey(json.loads(line))).addErrback(_fail)

    def connectionLost(self, reason: object = None) -> None:
        """Stop: the process that started this one has gone."""
        if reactor.running:
            reactor.stop()


def _fail(failure: Any) -> None:
    say(error=failure.getErrorMessage())
    reactor.stop()


def mailbox(database: str) -> None:
    """Serve mailboxes on a free port of loopback."""
    from wormhole_mailbox_server.database import create_or_upgrade_channel_db
    from wormhole_mailbox_server.server import make_server
    from wormhole_mailbox_server.web import make_web_server

    server = make_server(create_or_upgrade_channel_db(database), blur_usage=3600)
    server.startService()
    port = reactor.listenTCP(0, make_web_server(server, False), interface="127.0.0.1")
    say(port=port.getHost().port)


async def send(url: str, order: dict[str, str]) -> None:
    """Send one text with a fresh code."""
    import wormhole

    one = wormhole.create(APPLICATION, url, reactor)
    one.allocate_code(2)
    say(code=await one.get_code())
    one.send_message(order["text"].encode())
    await one.get_message()
    say(done=time.monotonic_ns())
    await one.close()


async def receive(url: str, order: dict[str, str]) -> None:
    """Receive one text, and acknowledge it."""
    import wormhole

    began = time.monotonic_ns()
    one = wormhole.create(APPLICATION, url, reactor)
    one.set_code(order["code"])
    await one.get_message()
    done = time.monotonic_ns()
    one.send_message(b"got it")
    say(done=done)
    say(began=began)
    await one.close()


def main() -> None:
    """Run one party until standard input ends."""
    role, argument = sys.argv[1:]
    if role == "mailbox":
        mailbox(argument)
    else:
        import wormhole  # noqa: F401 - warm: what it imports is imported before the first text

        party = send if role == "send" else receive
        say(ready=True)

    async def obey(order: dict[str, str]) -> None:
        await party(argument, order)

    stdio.StandardIO(Orders(obey))
    reactor.run()


if __name__ == "__main__":
    main()
