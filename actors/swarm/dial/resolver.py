"""Resolves host names by getaddrinfo(3), inside a sandbox in which no library can be loaded any more.

Name services are libraries (nsswitch.conf(5)), so they are loaded before the sandbox is entered. Those that
ask a daemon over a Unix socket (mdns, resolve) find the socket refused, and the next service is used. Owns
the check that the files of the name services are still the ones that the sandbox allows, and what names led
to before their server was gone. Implements docs/architecture.md, "Sandboxes".
"""

import ctypes
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ....messages.errors import SpacedriveNodeError

_NSSWITCH_FILE = Path("/etc/nsswitch.conf")
_MAX_KNOWN = 256
"""Names of which something is remembered."""
MAX_HEARSAY_LOOKUPS = 8
"""Names of a stranger's choice that are looked up at once. Each has a thread until its name server answers,
also when nobody waits any more, and that may be the stranger's: none of those for other names is taken."""
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
    """Resolves host names; `files` have to stay readable. `warn` writes a log line."""

    def __init__(
        self,
        files: Sequence[Path] = _NAME_FILES,
        warn: Callable[[str, dict[str, str]], None] = lambda _event, _fields: None,
    ) -> None:
        self._files = [file for file in files if _can_read(file)]
        self._warn = warn
        self._known: OrderedDict[tuple[str, int], list[Any] | None] = OrderedDict()
        """What a name led to last; None: nothing, and that was said."""
        self._hearsay_limiter = trio.CapacityLimiter(MAX_HEARSAY_LOOKUPS)

    async def resolve(self, host: str, port: int, *, is_hearsay: bool = False) -> list[Any]:
        """Return the result of getaddrinfo(3) for TCP, the last one if no name server answers.

        Of a name that is hearsay nothing is remembered, and nothing said: a stranger has chosen it. Raises
        OSError, ResolverFilesReplacedError.
        """
        if not all(_can_read(file) for file in self._files):
            raise ResolverFilesReplacedError
        if is_hearsay:
            ask = partial(socket.getaddrinfo, host.encode("ascii"), port, type=socket.SOCK_STREAM)
            return await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=self._hearsay_limiter)
        try:
            found = await _ask(host, port)
        except OSError as error:
            known = self._known.get((host, port))
            if known is not None and isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
                return known
            if (host, port) not in self._known or known is not None:
                self._note(host, port, None)
                reason = str(error.strerror or error)[:100]
                self._warn("a name leads to no address", {"name": host, "reason": reason})
            raise
        self._note(host, port, found)
        return found

    def _note(self, host: str, port: int, found: list[Any] | None) -> None:
        self._known[host, port] = found
        self._known.move_to_end((host, port))
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)


async def _ask(host: str, port: int) -> list[Any]:
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
