"""What each actor may still do in its sandbox, and why: all grants on one page.

Everything that is not granted here is given up before an actor reads its first message. Owns no mechanism:
that is supervisor/sandbox.py's. docs/architecture.md, "Sandboxes"; docs/security.md, "Who holds what".
"""

from collections.abc import Iterable
from pathlib import Path

from msgspec import structs

from .supervisor.child_specs import Sandbox

_MIB = 1024 * 1024

RESOLVER_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
"""What getaddrinfo(3) reads to resolve a name."""

SESSION = Sandbox()
"""Computes, and needs nothing for that. It parses what strangers send."""

METRICS = Sandbox(reach="accept", descriptors=256, memory=512 * _MIB)
"""Answers scrapers, 64 at once, on the listening socket that it is given."""

GATEWAY = Sandbox(reach="accept", descriptors=512, memory=512 * _MIB)
"""Answers clients, 128 at once, on the control socket that it is given."""

WEB = Sandbox(reach="accept", descriptors=128, memory=256 * _MIB)
"""Answers browsers, 64 connections at once, on the listening socket that it is given. It reaches the gateway
by messages: the grant of a Unix socket would be one of all Unix sockets of the user."""

LAN = Sandbox(reach="datagrams", descriptors=32, memory=256 * _MIB)
"""Sends and reads mDNS, over UDP; lists the network interfaces. It parses what anybody on the LAN sends."""

SWARM = Sandbox(files=RESOLVER_FILES, reach="internet", threads=True, descriptors=2048, memory=2048 * _MIB)
"""Talks to peers, on 512 connections at once; resolves names, in threads."""

SWARM_OFFLINE = Sandbox(reach="internet", descriptors=2048, memory=2048 * _MIB)
"""The same for a node that is offline, which resolves no names. That it speaks with loopback alone is its own
doing (actors/swarm/dial/): no sandbox here tells addresses apart."""


def swarm_sandbox(certificates: Iterable[str], *, offline: bool = False) -> Sandbox:
    """Return SWARM or SWARM_OFFLINE with the files of certificates and keys that are configured for TLS."""
    plain = SWARM_OFFLINE if offline else SWARM
    return structs.replace(plain, files=(*plain.files, *certificates))


def vault_sandbox(data_dir: Path, *, sealed: bool) -> Sandbox:
    """Return the sandbox with the data directory, and the random numbers that SQLite reads.

    `sealed`: with threads, in which Argon2id opens a sealed identity, in up to 512 MiB if its file says so.
    """
    directory = str(data_dir.expanduser().absolute())
    return Sandbox(directories=(directory,), files=("/dev/urandom",), threads=sealed, memory=2048 * _MIB)


def discovery_sandbox(runtime_dir: Path | None) -> Sandbox:
    """Return the sandbox with the register in which nodes on this host find each other.

    `runtime_dir` None: they are not looked for.
    """
    directories = () if runtime_dir is None else (str(runtime_dir.absolute() / "nodes"),)
    return Sandbox(directories=directories, memory=512 * _MIB)
