"""Names of hosts: resolved by the system, from within a sandbox that no library can be loaded in any more.

Owns what has to be loaded before, and the files that may be replaced meanwhile. Name services are
libraries (nsswitch.conf(5)). Those that ask a daemon over a Unix socket (mdns, resolve) find the socket
refused, and the next one is asked.
"""

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from ....messages.errors import SpacedriveNodeError

_SWITCH = Path("/etc/nsswitch.conf")
_READ_EACH_TIME = (Path("/etc/resolv.conf"), Path("/etc/hosts"))


class ResolverFilesReplacedError(SpacedriveNodeError):
    """The list of name servers or of hosts is another file, unknown to the sandbox: it takes a restart."""


def load_name_services(switch: Path = _SWITCH) -> list[str]:
    """Load the libraries of the name services for hosts; return the services that are configured."""
    services = _services(switch)
    for service in services:
        with suppress(OSError):  # not installed: then getaddrinfo skips it as well
            ctypes.CDLL(f"libnss_{service}.so.2")
    return services


def _services(switch: Path) -> list[str]:
    try:
        lines = switch.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    told = [line.partition("#")[0].partition(":")[2] for line in lines if line.startswith("hosts:")]
    return [word for word in " ".join(told).split() if word.replace("_", "").isalnum()]


class Names:
    """Resolves names of hosts."""

    def __init__(self, files: Sequence[Path] = _READ_EACH_TIME) -> None:
        self._files = [file for file in files if _can_read(file)]

    async def resolve(self, host: str, port: int) -> list[Any]:
        """Return what getaddrinfo(3) does, for TCP. Raises OSError, ResolverFilesReplacedError."""
        if not all(_can_read(file) for file in self._files):
            raise ResolverFilesReplacedError
        return await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)


def _can_read(file: Path) -> bool:
    try:
        with file.open("rb"):
            return True
    except PermissionError:
        return False
    except OSError:  # not there: nothing to read, then as now
        return True
