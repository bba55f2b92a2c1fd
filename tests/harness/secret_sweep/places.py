"""Where a secret could have been left: files below a directory, and what HTTP and other readers brought.

Owns the one exception: an identity without a passphrase, which legitimately holds the seeds, mode 0600.
Never decides what is a secret.
"""

import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from spacedrive_node.tests.harness.secret_sweep.encodings import Sweep
from spacedrive_node.tests.harness.secret_sweep.known_secrets import OF_IDENTITY, is_open_identity

LARGEST = 16 << 20
"""Bytes of a file that are read; a node of a test writes none that is larger."""
DEADLINE = 30.0


def files(folder: Path) -> Iterator[Path]:
    """Plain files below a folder, as they are at this moment; links are not followed."""
    for path in sorted(folder.rglob("*")):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
        except OSError:
            continue


def find_in_files(sweep: Sweep, folder: Path, allowed: Iterable[Path] = ()) -> list[str]:
    """Return what of the secrets there is in files below a folder, but for `allowed`, and in their names."""
    found = []
    but = set(allowed)
    for path in files(folder):
        place = str(path.relative_to(folder))
        found += [f"{what} in the name of a file" for what in sweep.find(place.encode())]
        if path in but:
            continue
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST)
        except OSError:
            continue
        there = sweep.find(content)
        if there and is_open_identity(content) and not path.stat().st_mode & 0o077:
            there = [what for what in there if what.split(" as ")[0] not in OF_IDENTITY]
        found += [f"{what} in {place}" for what in there]
    return found


def find_in_texts(sweep: Sweep, texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return what of the secrets there is in texts, which come with the name of their place."""
    texts = list(texts)
    if not sweep.find(b"\n".join(text for _, text in texts)):  # thousands of short ones, and nothing in them
        return []
    return [f"{what} in {place}" for place, text in texts for what in sweep.find(text)]


def http(address: str, path: str) -> bytes:
    """GET a path of a server at host:port; return all that it says, head and body."""
    host, _, port = address.removeprefix("http://").partition("/")[0].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=DEADLINE) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        said = b""
        while piece := connection.recv(1 << 16):
            said += piece
    return said
