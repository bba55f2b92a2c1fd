"""How a node is, for whoever started it: ready, and from then on its status in one line.

Asks the gateway, as any client does, so that what is said here is what users see. Owns the moment at which
the node counts as ready. Never decides anything for the node.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from .client.errors import ControlError, result_of
from .config.node_sockets import NodeSockets, OpenSockets
from .logs import WriteLog
from .messages.base import MalformedMessageError
from .messages.control_protocol import NodeStatus, Status, decode_reply
from .supervisor.channel import Channel
from .supervisor.libc import give_back_free_memory

_READY_POLL_S = 0.05
_STILL_STARTING_LOG_S = 10.0
_STATUS_INTERVAL_S = 5.0
_REPLY_TIMEOUT_S = 5.0
_NO_REPLY = (
    OSError,
    trio.EndOfChannel,
    trio.BrokenResourceError,
    trio.TooSlowError,
    MalformedMessageError,
    ControlError,
)
"""What stands for a gateway that is not there, or is about to be another one."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What is reported when the node takes pairings: who it is, and where it can be reached.

    `control` is the path of the control socket, `metrics` `HOST:PORT` or None. `page` is the address of the
    page, or None; `page_token`, a secret, its token if it was made for this start.
    """

    name: str
    peer: bytes
    addresses: tuple[str, ...]
    control: str
    metrics: str | None
    page: str | None = None
    page_token: str | None = field(default=None, repr=False)


async def report_status(
    node_sockets: NodeSockets,
    sockets: OpenSockets,
    page_token: str | None,
    ready: Callable[[Ready], None],
    log: WriteLog,
    on_status: Callable[[str], None] | None,
) -> None:
    """Call `ready` when the node is, and `on_status` from then on."""
    await _report_when_ready(sockets, page_token, ready, log)
    give_back_free_memory()  # of the imports; the node runs for months
    while on_status is not None:
        await trio.sleep(_STATUS_INTERVAL_S)
        line = "not ready: gateway"
        try:
            async with _status_requests(node_sockets.control_path) as request_status:
                line = _status_line(await request_status())
        except _NO_REPLY:
            pass
        on_status(line)


def ready_line(addresses: Sequence[str]) -> str:
    """Return the status of a node that is ready, as one line."""
    return f"ready, at {' '.join(addresses)}"


def _status_line(status: NodeStatus) -> str:
    if status.ready:
        return ready_line(status.addresses)
    return f"not ready: {', '.join(status.missing)}"


@asynccontextmanager
async def _status_requests(control_path: Path) -> AsyncIterator[Callable[[], Awaitable[NodeStatus]]]:
    """Connect to the gateway; what is given requests the status, once for each call.

    Without the public client, whose event-loop-neutral library would be a MiB of this process for as long as
    the node runs. Both raise an exception of _NO_REPLY.
    """
    with trio.fail_after(_REPLY_TIMEOUT_S):
        channel = Channel(await trio.open_unix_socket(str(control_path)), decode_reply)

    async def request_status() -> NodeStatus:
        with trio.fail_after(_REPLY_TIMEOUT_S):
            await channel.send(Status(id=1))
            return result_of(await channel.receive(), NodeStatus)

    try:
        yield request_status
    finally:
        await channel.aclose()


async def _report_when_ready(
    sockets: OpenSockets, page_token: str | None, ready: Callable[[Ready], None], log: WriteLog
) -> None:
    """Request the status from the gateway, as any client does, until the node listens; then call `ready`.

    Meanwhile, log now and then what is missing.
    """
    status: NodeStatus | None = None
    last_log = trio.current_time()
    while status is None or not (status.peer and status.addresses):
        try:
            async with _status_requests(sockets.control_path) as request_status:
                status = await request_status()
                while not (status.peer and status.addresses):
                    if trio.current_time() - last_log > _STILL_STARTING_LOG_S:
                        last_log = trio.current_time()
                        log("supervisor", "warning", "still starting", {"missing": "; ".join(status.missing)})
                    await trio.sleep(_READY_POLL_S)
                    status = await request_status()
        except _NO_REPLY:
            await trio.sleep(_READY_POLL_S)
    ready(
        Ready(
            name=status.name,
            peer=status.peer,
            addresses=status.addresses,
            control=str(sockets.control_path),
            metrics=sockets.metrics_endpoint,
            page=sockets.page_address,
            page_token=page_token,
        )
    )
