"""The sockets of a node that outlive its actors: the control socket and the metrics socket.

The supervisor's process opens them before any actor exists and hands copies to the gateway and to metrics, at
each of their starts: so a client that connects while one of them restarts waits a moment and is not refused.
Owns opening them, the node's entry in the register of running nodes, and undoing both. Never accepts a
connection.
"""

import errno
import os
import socket
from pathlib import Path
from typing import NamedTuple

from .config.control_socket import bind_control, remove_control
from .config.paths import UnsafePathError, control_path
from .config.running_nodes import register_node, unregister_node
from .config.settings import NodeConfig
from .logs import WriteLog
from .supervisor.tree import NodeFailedError

_METRICS_BACKLOG = 64


class OpenSockets(NamedTuple):
    """The listening sockets of a node; `metrics` is None when no HTTP is wanted."""

    control_path: Path
    control: socket.socket
    metrics: socket.socket | None

    @property
    def metrics_endpoint(self) -> str | None:
        """`HOST:PORT` of the metrics, None when there are none."""
        if self.metrics is None:
            return None
        host, port = self.metrics.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class NodeSockets:
    """A context manager: opens the sockets and registers the node; closes and removes all of it at the end.

    Raises NodeFailedError with a text for the user.
    """

    def __init__(self, config: NodeConfig, data_dir: Path, log: WriteLog) -> None:
        self._config, self._data_dir, self._log = config, data_dir, log
        self._open: list[socket.socket] = []

    def __enter__(self) -> OpenSockets:
        try:
            self._control_path = (
                Path(self._config.control) if self._config.control else control_path(self._data_dir)
            )
            control = bind_control(self._control_path)
            self._open.append(control)
            metrics = self._bind_metrics()
            register_node(self._data_dir, self._control_path)
        except UnsafePathError as error:
            self._undo()
            raise NodeFailedError(str(error)) from None
        except OSError as error:
            self._undo()
            raise NodeFailedError(
                f"cannot register the node beside {self._control_path}: {error.strerror}"
            ) from None
        except BaseException:
            self._undo()
            raise
        return OpenSockets(self._control_path, control, metrics)

    def __exit__(self, *_: object) -> None:
        unregister_node(self._data_dir, self._control_path)
        self._close()

    def _undo(self) -> None:
        """Leave no socket file of a node that does not start; one that another node has bound stays."""
        if self._open:
            remove_control(self._control_path)
        self._close()

    def _close(self) -> None:
        for listener in self._open:
            listener.close()

    def _bind_metrics(self) -> socket.socket | None:
        wanted = self._config.metrics_endpoint
        if wanted is None:
            return None
        host, port, may_fall_back = wanted
        try:
            listener = _listen(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not may_fall_back:
                raise NodeFailedError(
                    f"metrics cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; "
                    "choose another address with --metrics-listen, or --metrics-listen off"
                ) from None
            listener = _listen(host, 0)
            actual = listener.getsockname()[1]
            self._log("supervisor", "warning", "metrics port taken", {"wanted": port, "instead": actual})
        self._open.append(listener)
        return listener


def _listen(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_METRICS_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
