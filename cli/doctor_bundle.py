"""What goes into a bug report: the facts of doctor as a tar.gz, without secrets.

Owns what is taken and what is hidden. Takes no file of the data directory, no variable of the environment, no
list of devices or sessions. What it takes is searched once more for what looks like a secret, since a log may
be any file: words of a code, keys, values of variables with such names. Paths of a home begin with `~`.
"""

import io
import json
import os
import pwd
import re
import stat
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..protocol.words import WORDS
from . import exit_codes
from .actors import actor_object
from .doctor_facts import AllFacts, NodeFacts
from .errors import CommandError
from .status import status_object

if TYPE_CHECKING:
    from .doctor_findings import Finding

_MAX_LOG_BYTES = 512 * 1024
_HIDDEN = "[hidden]"
_HIDDEN_SETTINGS = frozenset({"passphrase-file", "web-token-file", "websocket-path"})
_SECRET_VARIABLE = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|SDNODE_WORDS", re.IGNORECASE)
_MIN_SECRET_CHARACTERS = 6
_MIN_WORDS = 6
"""Of a code in a row. A sentence has fewer words of the list in a row, and if not, loses them."""
_WORD_SET = frozenset(WORDS)
_TOKENS = re.compile(r"[^\W\d_]+")
_MAX_BETWEEN_WORDS = 8
_QR_TEXT = re.compile(r"spacedrive:pair\?[^\s\"']*")
_PEM = re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL)
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])")
_BASE64 = re.compile(r"(?<![\w/+.~:-])[A-Za-z0-9+_-][A-Za-z0-9+/_-]{20,}={0,2}")
_PUBLIC = re.compile(r"12D3KooW|Qm|16Uiu2|bafz|uEi")
"""What begins so is a peer id, or the hash of a certificate."""


def write_bundle(
    path: str, facts: AllFacts, findings: "Sequence[Finding]", scrape: bytes | None, log: str | None
) -> None:
    """Write the bundle to a file that does not exist yet, for its user alone. Raises CommandError."""
    hidden = Redaction(os.environ, homes(facts))
    members = {name: hidden.in_text(text) for name, text in _members(facts, findings, scrape, log, hidden)}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = "it exists already" if isinstance(error, FileExistsError) else error.strerror
        raise CommandError(f"the bundle cannot be written to {path}: {reason}", exit_codes.USAGE) from None
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as bundle:
            for name, text in members.items():
                data = text.encode(errors="backslashreplace")
                entry = tarfile.TarInfo(f"sdnode-doctor/{name}")
                entry.size, entry.mode, entry.mtime = len(data), 0o644, int(time.time())
                bundle.addfile(entry, io.BytesIO(data))
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def _members(
    facts: AllFacts, findings: "Sequence[Finding]", scrape: bytes | None, log: str | None, hidden: "Redaction"
) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each member."""
    from .doctor import finding_object

    yield "doctor.json", _json([finding_object(finding) for finding in findings], hidden)
    if facts.settings is not None:
        shown = {
            key: {**setting, "value": _HIDDEN}
            if key in _HIDDEN_SETTINGS and setting["source"] != "default"
            else setting
            for key, setting in facts.settings.items()
        }
        yield "settings.json", _json({"whose": facts.settings_source, "settings": shown}, hidden)
    if isinstance(facts.node, NodeFacts):
        yield "status.json", _json(status_object(facts.node.status), hidden)
        yield "actors.json", _json([actor_object(actor) for actor in facts.node.actors], hidden)
    if scrape is not None:
        yield "metrics.txt", scrape.decode(errors="replace")
    if log is not None:
        yield "log.txt", _end_of(log)


def _json(value: object, hidden: "Redaction") -> str:
    # Before it is written: a secret may look different with the escapes of JSON.
    return json.dumps(hidden.in_value(value), ensure_ascii=False, indent=1) + "\n"


def _end_of(path: str) -> str:
    """Return the last lines of a plain file. Raises CommandError."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CommandError(f"the log {path} is not a plain file", exit_codes.USAGE)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MAX_LOG_BYTES))
            data = file.read(_MAX_LOG_BYTES)
    except OSError as error:
        raise CommandError(f"the log {path} cannot be read: {error.strerror}", exit_codes.USAGE) from None
    if size > _MAX_LOG_BYTES:
        data = data.partition(b"\n")[2]
    return data.decode(errors="backslashreplace")


def homes(facts: AllFacts) -> tuple[str, ...]:
    """Return the homes of whoever runs this, and of the owner of the data directory."""
    found = {os.path.expanduser("~")}
    users = {os.geteuid()}
    for file in facts.files:
        with suppress(OSError):
            users.add(os.lstat(file.path).st_uid)
    for user in users:
        with suppress(KeyError):
            found.add(pwd.getpwuid(user).pw_dir)
    found |= {os.path.realpath(home) for home in found}
    return tuple(sorted((home for home in found if home.count("/") > 0 and len(home) > 1), key=len)[::-1])


class Redaction:
    """Hides what looks like a secret, and where homes are, in any text."""

    def __init__(self, environment: Mapping[str, str], homes: Sequence[str]) -> None:
        values = {
            value
            for name, value in environment.items()
            if _SECRET_VARIABLE.search(name) and len(value) >= _MIN_SECRET_CHARACTERS
        }
        escaped = {json.dumps(value, ensure_ascii=ascii)[1:-1] for value in values for ascii in (True, False)}
        self._values = sorted(values | escaped, key=len, reverse=True)
        self._homes = [re.compile(re.escape(home.rstrip("/")) + r"(?![\w.-])") for home in homes]

    def in_value(self, value: Any) -> Any:
        """Return a value as JSON has it, with every text in it redacted."""
        match value:
            case str():
                return self.in_text(value)
            case dict():
                return {self.in_text(str(key)): self.in_value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.in_value(item) for item in value]
        return value

    def in_text(self, text: str) -> str:
        """Return a text with everything hidden that looks like a secret."""
        for home in self._homes:
            text = home.sub("~", text)
        for value in self._values:
            text = text.replace(value, _HIDDEN)
        for pattern in (_QR_TEXT, _PEM, _HEX):
            text = pattern.sub(_HIDDEN, text)
        text = _BASE64.sub(_hidden_if_random, text)
        return _without_codes(text)


def _hidden_if_random(match: re.Match[str]) -> str:
    text = match[0]
    kinds = (str.islower, str.isupper, str.isdigit)
    is_random = all(any(kind(char) for char in text) for kind in kinds)
    return _HIDDEN if is_random and not _PUBLIC.match(text) else text


def _without_codes(text: str) -> str:
    """Hide runs of words of the list, whatever stands between them."""
    runs: list[tuple[int, int, int]] = []
    for match in _TOKENS.finditer(text):
        if match[0].lower() not in _WORD_SET:
            continue
        between = text[runs[-1][1] : match.start()] if runs else ""
        joins = runs and len(between) <= _MAX_BETWEEN_WORDS and not _TOKENS.search(between)
        if joins:
            begin, _, count = runs[-1]
            runs[-1] = (begin, match.end(), count + 1)
        else:
            runs.append((match.start(), match.end(), 1))
    for begin, end, count in reversed(runs):
        if count >= _MIN_WORDS:
            text = text[:begin] + _HIDDEN + text[end:]
    return text
