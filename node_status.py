"""How a node is, for whoever started it: ready, and from then on its status in one line.

Asks the gateway, as any client does, so that what is said here is what users see. Owns the moment at which
the node counts as ready. Never decides anything for the node.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from .client.node_client import NodeGoneError, NoNodeRunningError, open_client
from .config.node_sockets import NodeSockets, OpenSockets
from .logs import WriteLog
from .messages.control_protocol import NodeStatus

_READY_POLL_S = 0.05
_STILL_STARTING_LOG_S = 10.0
_STATUS_INTERVAL_S = 5.0


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
    while on_status is not None:
        await trio.sleep(_STATUS_INTERVAL_S)
        line = "not ready: gateway"
        with trio.move_on_after(_STATUS_INTERVAL_S), suppress(NodeGoneError, NoNodeRunningError):
            async with open_client(node_sockets.control_path) as client:
                line = _status_line(await client.status())
        on_status(line)


def ready_line(addresses: Sequence[str]) -> str:
    """Return the status of a node that is ready, as one line."""
    return f"ready, at {' '.join(addresses)}"


def _status_line(status: NodeStatus) -> str:
    if status.ready:
        return ready_line(status.addresses)
    return f"not ready: {', '.join(status.missing)}"


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
            async with open_client(sockets.control_path) as client:
                status = await client.status()
                while not (status.peer and status.addresses):
                    if trio.current_time() - last_log > _STILL_STARTING_LOG_S:
                        last_log = trio.current_time()
                        log("supervisor", "warning", "still starting", {"missing": "; ".join(status.missing)})
                    await trio.sleep(_READY_POLL_S)
                    status = await client.status()
        except (NodeGoneError, NoNodeRunningError):
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
