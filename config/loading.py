"""Puts a NodeConfig together from flags, environment variables and a TOML file.

Owns the precedence flag > `SDNODE_…` variable > TOML file > default (docs/interfaces.md, "sdnode up") and
every message about a wrong value, which names the flag, the variable or the line of the file. Never opens a
socket and never creates anything: a configuration can be checked on a machine where the node cannot run.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..messages.errors import SpacedriveNodeError
from .paths import UnsafePathError, expand_user
from .settings import ENVIRONMENT_PREFIX, SETTINGS, NodeConfig, Setting
from .values import InvalidValueError, refused_passphrase

# Variables of the command line that are no settings of a node.
_OTHER_VARIABLES = frozenset({"SDNODE_CONFIG", "SDNODE_COMPLETE", "SDNODE_DEBUG"})
_MAX_FILE_BYTES = 1 << 20
# Settings that this version does not have, known by name so that the refusal says so.
_REFUSED: dict[str, Setting] = {
    setting.key: setting for setting in (Setting("passphrase", refused_passphrase),)
}
# `no-mdns = true` is what someone writes who knows the flag.
_NEGATED = {"no-mdns": "mdns", "no-same-host": "same-host", "no-quic": "quic"}
_KEYS = {**SETTINGS, **_REFUSED}
_KNOWN_KEYS = (*SETTINGS, *_REFUSED, *_NEGATED)


class ConfigError(SpacedriveNodeError, ValueError):
    """The configuration cannot be used; `problems` has one line for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass
class LoadedConfig:
    """A configuration, the source of each value by key, and remarks that are no errors."""

    config: NodeConfig
    sources: dict[str, str]
    remarks: list[str] = field(default_factory=list)


def load_config(
    flags: Mapping[str, object], env: Mapping[str, str], file: str | Path | None = None
) -> LoadedConfig:
    """Return the configuration that these sources give together.

    `flags` has the keys of the file, or the fields of NodeConfig; None and empty tuples count as not given.
    Raises ConfigError with everything that is wrong in any of the sources.
    """
    loader = _ConfigLoader()
    if file is not None:
        loader.read_file(_expanded(file))
    loader.read_environment(env)
    loader.read_flags(flags)
    if loader.problems:
        raise ConfigError(loader.problems)
    values = {SETTINGS[key].field: value for key, value in loader.values.items()}
    if "metrics-listen" in loader.values:
        values["metrics_fallback"] = False
    config = NodeConfig(**values)
    contradictions = config.contradictions()
    if contradictions:
        raise ConfigError([f"{loader.label(key)}: {text}" for key, text in contradictions])
    return LoadedConfig(config, loader.sources, loader.remarks)


def reader_again(
    flags: Mapping[str, object], env: Mapping[str, str], file: str | Path | None
) -> Callable[[], LoadedConfig]:
    """Return what reads the same sources again while the node runs; called in the directory of the start.

    It names the file by a path that means the same to whoever asks for it. A pipe, as `<(…)` of a shell is,
    it refuses: that was read once, and would be empty now, or be waited for.
    """
    path = None if file is None else _expanded(file).absolute()

    def read() -> LoadedConfig:
        if path is not None and os.path.exists(path) and not os.path.isfile(path):
            raise ConfigError([f"{path}: is no regular file, and cannot be read again"])
        return load_config(flags, env, path)

    return read


def _expanded(file: str | Path) -> Path:
    try:
        return Path(expand_user(file))
    except UnsafePathError as error:
        raise ConfigError([f"{file}: {error}"]) from None


class _ConfigLoader:
    """Reads the sources from the weakest to the strongest; a later one replaces a value, even a list."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        self.remarks: list[str] = []

    def _set(self, setting: Setting, raw: object, label: str, source: str, *, negated: bool = False) -> None:
        try:
            value = setting.parse(raw)
        except InvalidValueError as error:
            self.problems.append(f"{label}: {error}")
            return
        if setting.key in _REFUSED:  # it is switched off, which is the same as not given
            return
        self.values[setting.key] = not value if negated else value
        self.sources[setting.key] = source

    def label(self, key: str) -> str:
        """Return where the value of a setting was given, as messages name it."""
        return self.sources.get(key, key).removeprefix("flag ").removeprefix("environment ")

    def read_flags(self, flags: Mapping[str, object]) -> None:
        for name, raw in flags.items():
            setting = _KEYS[name.replace("_", "-")]
            if raw is None or raw == ():
                continue
            flag = f"--no-{setting.key}" if raw is False else setting.flag
            self._set(setting, raw, flag, f"flag {flag}")

    def read_environment(self, env: Mapping[str, str]) -> None:
        known = {ENVIRONMENT_PREFIX + key.replace("-", "_").upper(): key for key in _KNOWN_KEYS}
        for variable in sorted(env):
            if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _OTHER_VARIABLES:
                continue
            key = known.get(variable)
            if key is None:
                # Not an error: service managers and container hosts set variables of such names by
                # themselves.
                self.remarks.append(f"{variable} is not a setting and is ignored{_suggest(variable, known)}")
            elif env[variable].strip():
                setting = _KEYS[_NEGATED.get(key, key)]
                source = f"environment {variable}"
                self._set(setting, env[variable], variable, source, negated=key in _NEGATED)

    def read_file(self, path: Path) -> None:
        try:
            with path.open("rb") as opened:
                raw = opened.read(_MAX_FILE_BYTES + 1)  # no more: a device has no end
            if len(raw) > _MAX_FILE_BYTES:
                raise ConfigError([f"{path}: larger than {_MAX_FILE_BYTES} bytes, this is no configuration"])
            text = raw.decode("utf-8-sig")  # some editors begin a file with a byte-order mark
            content = tomllib.loads(text)
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
        except UnicodeDecodeError as error:
            raise ConfigError([f"{path}:{raw[: error.start].count(10) + 1}: not UTF-8 text"]) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([_toml_problem(path, text, error)]) from None
        except (ValueError, RecursionError):  # a number of thousands of digits, or as many brackets
            raise ConfigError([f"{path}: has a value that is too large, this is no configuration"]) from None
        seen: dict[str, str] = {}
        for name, value in content.items():
            key = name.replace("_", "-")
            line = line_of_key(text, name)
            label = f"{path}:{line}: {name}"
            if key not in _KNOWN_KEYS:
                what = "unknown table" if isinstance(value, dict) else "unknown key"
                self.problems.append(f"{path}:{line}: {what} {name!r}{_suggest(key, _KNOWN_KEYS)}")
                continue
            target = _NEGATED.get(key, key)
            if target in seen:
                self.problems.append(f"{label}: the same setting as {seen[target]!r}, give one of them")
                continue
            seen[target] = name
            setting = _KEYS[target]
            if setting.is_path and isinstance(value, str) and value and not value.startswith("~"):
                value = str(path.resolve().parent / value)
            if isinstance(value, list):
                label = f"{path}:{_line_of_wrong_item(text, line, value, setting)}: {name}"
            self._set(setting, value, label, f"{path}:{line}", negated=key in _NEGATED)


def _toml_problem(path: Path, text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return the parser's message in the form of all others: file, line, reason."""
    message = str(error)
    position = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = position.group(1) if position else None
    reason = message[: position.start()] if position else message
    return f"{path}:{line or max(1, len(text.splitlines()))}: {reason}"


def line_of_key(text: str, key: str) -> int:
    """Return the line (from 1) on which a top-level key or table of a TOML text begins; 1 if not found."""
    name = re.escape(key)
    pattern = re.compile(rf"""^\s*\[*\s*(?:{name}|"{name}"|'{name}')\s*[=.\]]""")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return 1


def _line_of_wrong_item(text: str, start: int, items: list[object], setting: Setting) -> int:
    """Return the line of the first item that is refused by itself, else the line `start` of the key."""
    for item in items:
        try:
            setting.parse([item])
        except InvalidValueError:
            for number, line in enumerate(text.splitlines()[start - 1 :], start):
                if str(item) in line:
                    return number
    return start


def _suggest(word: str, known: "Mapping[str, object] | tuple[str, ...]") -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
