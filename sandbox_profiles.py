"""What each actor keeps in its sandbox, and why: the whole of it on one page.

Owns no mechanism: that is supervisor/sandbox.py's. Everything that is not granted here is given up before an
actor reads its first message. docs/security.md, "Who holds what".
"""

from pathlib import Path

from .supervisor.child_specs import Sandbox

_MIB = 1024 * 1024

RESOLVER_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
"""What getaddrinfo(3) reads to resolve a name."""

SESSION = Sandbox()
"""Computes. It parses what strangers send."""

METRICS = Sandbox(reach="accept", descriptors=256, memory=512 * _MIB)
"""Answers scrapers, 64 at once, on the socket that it is given."""

GATEWAY = Sandbox(reach="accept", descriptors=512, memory=512 * _MIB)
"""Answers clients, 128 at once, on the control socket."""

SWARM = Sandbox(files=RESOLVER_FILES, reach="internet", threads=True, descriptors=2048, memory=2048 * _MIB)
"""Talks to peers, 512 connections at once; names are resolved in threads."""


def vault(data_dir: Path, *, sealed: bool) -> Sandbox:
    """The data directory, and SQLite's source of chance.

    Argon2id, which opens a sealed identity, works in threads, and in 512 MiB if the file says so.
    """
    directory = str(data_dir.expanduser().absolute())
    return Sandbox(directories=(directory,), files=("/dev/urandom",), threads=sealed, memory=2048 * _MIB)


def discovery(runtime_dir: Path | None) -> Sandbox:
    """The register of this user's nodes in the runtime directory; None: nobody looks for them."""
    directories = () if runtime_dir is None else (str(runtime_dir.absolute() / "nodes"),)
    return Sandbox(directories=directories, memory=512 * _MIB)
