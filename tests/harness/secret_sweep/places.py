"""The places where a secret could have been left: files below a directory, texts, answers over HTTP.

Owns the one exception: an identity file without a passphrase, of mode 0600, holds the seeds and may.
Never decides what a secret is.
"""

import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch
from spacedrive_node.tests.harness.secret_sweep.known_secrets import OF_IDENTITY, is_open_identity

LARGEST = 16 << 20
"""Bytes of a file that are read. No node of a test writes a larger one."""
DEADLINE = 30.0


def files(folder: Path) -> Iterator[Path]:
    """Yield the plain files below a folder. Links are not followed."""
    for path in sorted(folder.rglob("*")):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
        except OSError:
            continue


def find_in_files(search: SecretSearch, folder: Path, allowed: Iterable[Path] = ()) -> list[str]:
    """Return which secrets are in the files below a folder (except `allowed`) and in their names."""
    found = []
    allowed_paths = set(allowed)
    for path in files(folder):
        place = str(path.relative_to(folder))
        found += [f"{what} in the name of a file" for what in search.find(place.encode())]
        if path in allowed_paths:
            continue
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST)
        except OSError:
            continue
        there = search.find(content)
        if there and is_open_identity(content) and not path.stat().st_mode & 0o077:
            there = [what for what in there if what.split(" as ")[0] not in OF_IDENTITY]
        found += [f"{what} in {place}" for what in there]
    return found


def find_in_texts(search: SecretSearch, texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return which secrets are in texts, each given as (name of its place, text)."""
    texts = list(texts)
    if not search.find(
        b"\n".join(text for _, text in texts)
    ):  # the usual case, and much faster than text by text
        return []
    return [f"{what} in {place}" for place, text in texts for what in search.find(text)]


def http_get(address: str, path: str) -> bytes:
    """GET a path of a server at host:port. Return the complete answer, head and body."""
    host, _, port = address.removeprefix("http://").partition("/")[0].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=DEADLINE) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer
