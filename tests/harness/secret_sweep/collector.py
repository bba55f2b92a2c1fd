"""The sweep of every test: what its nodes wrote and left, against the secrets of its codes and identities.

Harnesses hand in what they see (`log_line`, `checkpoint`, `code`, `secret`, `said`, …);
judge.py begins a watch with each test and judges at its end, before anything is cleared away. Outside of a
test, as in `make chaos`, nothing is kept.
"""

import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spacedrive_node.actors.vault.identity_file import KEY_FILE
from spacedrive_node.tests.harness.secret_sweep import known_secrets as known
from spacedrive_node.tests.harness.secret_sweep.encodings import Sweep
from spacedrive_node.tests.harness.secret_sweep.places import files, find_in_files, find_in_texts


@dataclass
class Watch:
    """What is known of one test."""

    codes: set[bytes | str] = field(default_factory=set)
    checkpoints: set[bytes] = field(default_factory=set)
    passphrases: set[bytes] = field(default_factory=set)
    values: set[tuple[str, bytes]] = field(default_factory=set)
    lines: dict[str, list[str]] = field(default_factory=dict)
    """By node: what it logged."""
    texts: list[tuple[str, bytes]] = field(default_factory=list)
    folders: set[Path] = field(default_factory=set)
    allowed: set[Path] = field(default_factory=set)
    before: "Watch | None" = None
    """The watch that this one has taken over from: what it knew is looked for here too."""

    def sweep(self) -> Sweep:
        """Put together all secrets of the test."""
        sweep = Sweep()
        for watch in (self, self.before) if self.before is not None else (self,):
            for code in watch.codes:
                known.add_code(sweep, code)
            for checkpoint in watch.checkpoints:
                known.add_session(sweep, checkpoint)
        for phrase in self.passphrases:
            sweep.add_phrase("passphrase", phrase)
        for name, value in self.values:
            sweep.add(name, value)
        for folder in self._roots():
            for path in files(folder):
                if path.name == KEY_FILE:
                    known.add_data(sweep, path.parent, self.passphrases)
        return sweep

    def found(self) -> list[str]:
        """Return what was found where it must not be."""
        sweep = self.sweep()
        if not sweep.names:
            return []
        lines = [(f"the log of {node}", "\n".join(some).encode()) for node, some in self.lines.items()]
        found = find_in_texts(sweep, [*lines, *self.texts])
        for folder in self._roots():
            found += find_in_files(sweep, folder, self.allowed)
        return sorted(set(found))

    def _roots(self) -> list[Path]:
        """The folders that lie in no other of them, and among files that come and go."""
        temporary = Path(tempfile.gettempdir()).resolve()
        whole = {path.resolve() for path in self.folders}
        return sorted(
            path
            for path in whole
            if path.is_dir() and temporary in path.parents and not whole & set(path.parents)
        )


_current: list[Watch] = []
_former: list[Watch] = []
"""Those that the present one has taken over from."""


def begin() -> Watch:
    """Watch from now on."""
    _former.clear()
    _current[:] = [Watch()]
    return _current[0]


def turn() -> None:
    """Begin a watch of what is said from now on, for what has come to be known since the last turn.

    A search takes as long as there are secrets, times what was said: a run of a thousand pairings turns.
    Files are searched once, at the end, for what is in them and what the last two watches know.
    """
    for watch in list(_current):
        _former.append(watch)
        _current[:] = [
            Watch(
                passphrases=set(watch.passphrases),
                values=set(watch.values),
                folders=watch.folders,
                allowed=set(watch.allowed),
                before=watch,
            )
        ]
        watch.folders = set()


def found() -> list[str]:
    """Return what was found, of the test that is watched, where it must not be."""
    return sorted({what for watch in (*_former, *_current) for what in watch.found()})


def end() -> None:
    """Watch no more."""
    _former.clear()
    _current.clear()


def log_line(node: str, actor: str, level: str, event: str, fields: Mapping[str, object]) -> None:
    """A node of the test has logged this."""
    for watch in _current:
        text = json.dumps([actor, level, event, {key: repr(value) for key, value in fields.items()}])
        watch.lines.setdefault(node, []).append(f"{event} {fields} {text}")


def checkpoint(content: bytes) -> None:
    """A session has come to this state."""
    for watch in _current:
        watch.checkpoints.add(content)


def secret(name: str, value: bytes) -> None:
    """A test has given this to an actor."""
    for watch in _current:
        watch.values.add((name, value))


def code(words: bytes | str) -> None:
    """A code was shown, or entered: its words or its 16 bytes."""
    for watch in _current:
        watch.codes.add(words)


def shown(output: str) -> None:
    """A command has written this to its standard output, with --json: codes in it are noted."""
    for line in output.splitlines() if '"words"' in output else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("words"), str):
            code(event["words"])


def passphrase(phrase: bytes) -> None:
    """An identity was sealed with this."""
    for watch in _current:
        watch.passphrases.add(phrase)


def passphrase_of(arguments: Iterable[str]) -> None:
    """A node is being started with these arguments; a file that they name holds its passphrase."""
    arguments = list(arguments)
    for name, value in itertools.pairwise(arguments):
        if name == "--passphrase-file" and os.path.isfile(value):
            phrase = Path(value).read_bytes().rstrip(b"\r\n")
            for watch in _current:
                watch.allowed.add(Path(value).resolve())
            if phrase:
                passphrase(phrase)


def said(place: str, text: str | bytes) -> None:
    """A program has said this where no secret belongs: standard error, an error on the control socket."""
    for watch in _current:
        watch.texts.append((place, text.encode() if isinstance(text, str) else text))


def folder(path: Path) -> None:
    """Files of the test are below this one."""
    for watch in _current:
        watch.folders.add(path)
