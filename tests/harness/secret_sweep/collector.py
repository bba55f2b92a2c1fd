"""Collects what the nodes and commands of one test write, and every secret that the test knows of.

The harness reports what it sees (`add_log_line`, `add_checkpoint`, `add_code`, `add_text`, …). A collection
starts with each test (pytest_hooks.py), which asks for the findings at its end, before any file is removed.
Outside of a test, as in `make chaos`, the program starts a collection itself; without one nothing is kept.

Owns the collections. Never decides what a secret looks like (encodings.py) or which there are
(known_secrets.py).
"""

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spacedrive_node.actors.vault.identity_file import KEY_FILE
from spacedrive_node.tests.harness.secret_sweep import known_secrets
from spacedrive_node.tests.harness.secret_sweep.encodings import SecretSearch
from spacedrive_node.tests.harness.secret_sweep.places import files, find_in_files, find_in_texts


@dataclass
class Collection:
    """The secrets and the output of one test."""

    codes: set[bytes | str] = field(default_factory=set)
    checkpoints: set[bytes] = field(default_factory=set)
    passphrases: set[bytes] = field(default_factory=set)
    values: set[tuple[str, bytes]] = field(default_factory=set)
    lines: dict[str, list[str]] = field(default_factory=dict)
    """Log lines by node."""
    texts: list[tuple[str, bytes]] = field(default_factory=list)
    folders: set[Path] = field(default_factory=set)
    allowed: set[Path] = field(default_factory=set)
    """Files that may hold a secret: those from which a node reads its passphrase."""
    previous: "Collection | None" = None
    """The collection before the last `rotate`. Its secrets are searched for here too."""
    following: "Collection | None" = None
    """The one after, likewise, if this one has kept its folders, whose files went on being written."""

    def search(self) -> SecretSearch:
        """Return a search for all secrets of the test."""
        search = SecretSearch()
        for collection in (self, self.previous, self.following):
            if collection is None:
                continue
            for code in collection.codes:
                known_secrets.add_code(search, code)
            for checkpoint in collection.checkpoints:
                known_secrets.add_session(search, checkpoint)
        for phrase in self.passphrases:
            search.add_phrase("passphrase", phrase)
        for name, value in self.values:
            search.add(name, value)
        for folder in self._roots():
            for path in files(folder):
                if path.name == KEY_FILE:
                    known_secrets.add_data(search, path.parent, self.passphrases)
        return search

    def findings(self) -> list[str]:
        """Return which secrets were found, and where."""
        search = self.search()
        if not search.names:
            return []
        lines = [(f"the log of {node}", "\n".join(some).encode()) for node, some in self.lines.items()]
        found = find_in_texts(search, [*lines, *self.texts])
        for folder in self._roots():
            found += find_in_files(search, folder, self.allowed)
        return sorted(set(found))

    def _roots(self) -> list[Path]:
        """Return the folders that lie below the system's temporary directory and in no other folder."""
        temporary = Path(tempfile.gettempdir()).resolve()
        folders = {path.resolve() for path in self.folders}
        return sorted(
            path
            for path in folders
            if path.is_dir() and temporary in path.parents and not folders & set(path.parents)
        )


_current: list[Collection] = []
_rotated: list[Collection] = []
"""Collections that `rotate` has closed."""


def start() -> Collection:
    """Start a collection."""
    _rotated.clear()
    _current[:] = [Collection()]
    return _current[0]


def rotate(*, keep_folders: bool = False) -> None:
    """Close the current collection and continue with a new one.

    A search takes time proportional to the number of secrets times the amount of output, so a run of a
    thousand pairings rotates. Each collection is searched for its own secrets and those of the one before.
    Files are searched once, at the end, for the secrets of the last two collections; or, with `keep_folders`,
    those that the closed collection has so far, for its secrets and those of its neighbours: for nodes that
    come and go.
    """
    for collection in list(_current):
        _rotated.append(collection)
        _current[:] = [
            Collection(
                passphrases=set(collection.passphrases),
                values=set(collection.values),
                folders=set() if keep_folders else collection.folders,
                allowed=set(collection.allowed),
                previous=collection,
            )
        ]
        if keep_folders:
            collection.following = _current[0]
        else:
            collection.folders = set()


def findings() -> list[str]:
    """Return which secrets were found since `start`, and where."""
    return sorted({what for collection in (*_rotated, *_current) for what in collection.findings()})


def stop() -> None:
    """Drop all collections."""
    _rotated.clear()
    _current.clear()


def add_log_line(node: str, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
    """Collect a line that a node has logged."""
    for collection in _current:
        text = json.dumps([actor, level, event, {key: repr(value) for key, value in fields.items()}])
        collection.lines.setdefault(node, []).append(f"{event} {fields} {text}")


def add_checkpoint(content: bytes) -> None:
    """Search for the secrets of a session in this state."""
    for collection in _current:
        collection.checkpoints.add(content)


def add_secret(name: str, value: bytes) -> None:
    """Search for a secret that a test has given to an actor."""
    for collection in _current:
        collection.values.add((name, value))


def add_code(words: bytes | str) -> None:
    """Search for a code (its words or its 16 bytes) and all that is derived from it."""
    for collection in _current:
        collection.codes.add(words)


def add_json_output(output: str) -> None:
    """Search for the codes in the standard output of a command with --json. The output may show them."""
    for line in output.splitlines() if '"words"' in output else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("words"), str):
            add_code(event["words"])


def add_passphrase(phrase: bytes) -> None:
    """Search for a passphrase that seals an identity."""
    for collection in _current:
        collection.passphrases.add(phrase)


def add_passphrase_of(arguments: Iterable[str]) -> None:
    """Search for the passphrase in the file that a node's arguments name. That file may hold it."""
    arguments = list(arguments)
    for name, value in itertools.pairwise(arguments):
        if name == "--passphrase-file" and os.path.isfile(value):
            phrase = Path(value).read_bytes().rstrip(b"\r\n")
            for collection in _current:
                collection.allowed.add(Path(value).resolve())
            if phrase:
                add_passphrase(phrase)


def add_text(place: str, text: str | bytes) -> None:
    """Collect a text that may hold no secret: standard error, an error on the control socket."""
    for collection in _current:
        collection.texts.append((place, text.encode() if isinstance(text, str) else text))


def add_folder(path: Path) -> None:
    """Collect the files below a folder."""
    for collection in _current:
        collection.folders.add(path)
