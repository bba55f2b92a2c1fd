"""Resolves host names by getaddrinfo(3), inside a sandbox in which no library can be loaded any more.

Name services are libraries (nsswitch.conf(5)), so they are loaded before the sandbox is entered. Those that
ask a daemon over a Unix socket (mdns, resolve) find the socket refused, and the next service is used. Owns
the check that the files of the name services are still the ones that the sandbox allows. Implements
docs/architecture.md, "Sandboxes".
"""

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from ....messages.errors import SpacedriveNodeError

_NSSWITCH_FILE = Path("/etc/nsswitch.conf")
_NAME_FILES = (Path("/etc/resolv.conf"), Path("/etc/hosts"))


class ResolverFilesReplacedError(SpacedriveNodeError):
    """A file of names was replaced; the sandbox does not allow the new one, so the actor has to restart."""


def load_name_services(switch: Path = _NSSWITCH_FILE) -> list[str]:
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
    lists = [line.partition("#")[0].partition(":")[2] for line in lines if line.startswith("hosts:")]
    return [word for word in " ".join(lists).split() if word.replace("_", "").isalnum()]


class Resolver:
    """Resolves host names; `files` have to stay readable."""

    def __init__(self, files: Sequence[Path] = _NAME_FILES) -> None:
        self._files = [file for file in files if _can_read(file)]

    async def resolve(self, host: str, port: int) -> list[Any]:
        """Return the result of getaddrinfo(3) for TCP. Raises OSError, ResolverFilesReplacedError."""
        if not all(_can_read(file) for file in self._files):
            raise ResolverFilesReplacedError
        return await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)


def _can_read(file: Path) -> bool:
    """Return False only if the sandbox forbids the file."""
    try:
        with file.open("rb"):
            return True
    except PermissionError:
        return False
    except OSError:  # there is no such file, and so nothing to be forbidden
        return True
