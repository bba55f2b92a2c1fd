"""The configuration of a node: NodeConfig, where its values come from, and what is wrong with them.

Owns the precedence flag > `SDNODE_…` variable > TOML file > default (docs/interfaces.md, "sdnode up") and
every message about a wrong value, which names the flag, the variable or the line of the file. Never opens
a socket and never creates anything: a configuration may be checked on a machine where the node cannot run.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..messages.errors import SpacedriveNodeError
from ..messages.types import MAX_CODE_LIFETIME_SECONDS, MIN_CODE_LIFETIME_SECONDS, DhtMode
from .values import (
    InvalidValueError,
    announce_address,
    bootstrap_address,
    choice,
    control_path,
    device_name,
    directory,
    endpoint,
    integer,
    listen_address,
    many,
    number,
    protocol_id,
    refused_passphrase,
    refused_relay,
    refused_relay_service,
    split_endpoint,
    switch,
)

DEFAULT_LISTEN = "/ip4/0.0.0.0/tcp/7520"
DEFAULT_METRICS = "127.0.0.1:9464"
ENVIRONMENT_PREFIX = "SDNODE_"
# Variables of the command line that are no settings of a node.
_OTHER_VARIABLES = frozenset({"SDNODE_CONFIG", "SDNODE_COMPLETE", "SDNODE_DEBUG"})
_MAX_FILE_BYTES = 1 << 20

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a node is told when it starts. Holds no secret. The defaults suit a computer at home.

    `data_dir` None: the platform's user data directory. `control` None: a path that follows from the data
    directory. `passphrase_file`: where `sdnode up` finds the passphrase of the identity. `listen` empty:
    DEFAULT_LISTEN, or a free port when that one is taken. `metrics_listen` None: no HTTP. `metrics_fallback`:
    with DEFAULT_METRICS a taken port is replaced by a free one; False when the user asked for exactly that.
    """

    data_dir: str | None = None
    passphrase_file: str | None = None
    name: str | None = None
    control: str | None = None
    metrics_listen: str | None = DEFAULT_METRICS
    metrics_fallback: bool = True
    listen: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    dht_protocol: str = "/spacedrive/kad/1.0.0"
    dht_mode: DhtMode = "auto"
    mdns: bool = True
    same_host: bool = True
    lan_only: bool = False
    max_sessions: int = 256
    code_lifetime: float = 300.0
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"

    @property
    def metrics_endpoint(self) -> tuple[str, int, bool] | None:
        """Host, port and whether the port is only a wish; None: no HTTP."""
        if self.metrics_listen is None:
            return None
        host, port = split_endpoint(self.metrics_listen)
        return host, port, self.metrics_fallback and self.metrics_listen == DEFAULT_METRICS

    def to_argv(self) -> list[str]:
        """Return the flags of `sdnode up` that give this configuration; defaults are left out."""
        argv: list[str] = []
        default = NodeConfig()
        for setting in SETTINGS.values():
            value = getattr(self, setting.field)
            strict_metrics = setting.key == "metrics-listen" and not self.metrics_fallback
            if value == getattr(default, setting.field) and not strict_metrics:
                continue
            if isinstance(value, bool):
                argv.append(setting.flag if value else f"--no-{setting.key}")
            elif isinstance(value, tuple):
                for item in value:
                    argv += [setting.flag, item]
            else:
                argv += [setting.flag, "off" if value is None else _plain(value)]
        return argv


@dataclass(frozen=True)
class Setting:
    """One value: its key in the file, the field of NodeConfig, and how a raw value is read."""

    key: str
    parse: Callable[[object], Any]
    is_path: bool = False

    @property
    def field(self) -> str:
        """Name of the field of NodeConfig."""
        return self.key.replace("-", "_")

    @property
    def flag(self) -> str:
        """The flag of `sdnode up`."""
        return f"--{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.field.upper()


SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting("data-dir", directory, is_path=True),
        Setting("passphrase-file", directory, is_path=True),
        Setting("name", device_name),
        Setting("control", control_path, is_path=True),
        Setting("metrics-listen", endpoint),
        Setting("listen", many(listen_address, 16)),
        Setting("announce", many(announce_address, 32)),
        Setting("bootstrap", many(bootstrap_address, 64)),
        Setting("dht-protocol", protocol_id),
        Setting("dht-mode", choice("auto", "server", "client")),
        Setting("mdns", switch),
        Setting("same-host", switch),
        Setting("lan-only", switch),
        Setting("max-sessions", integer(1, 1000)),
        Setting("code-lifetime", number(MIN_CODE_LIFETIME_SECONDS, MAX_CODE_LIFETIME_SECONDS, "seconds")),
        Setting("log-format", choice("console", "json")),
        Setting("log-level", choice("debug", "info", "warning", "error")),
    )
}
# Understood so that the answer is clear; no value of theirs is accepted.
_REFUSED: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting("relay", refused_relay),
        Setting("relay-service", refused_relay_service),
        Setting("passphrase", refused_passphrase),
    )
}
# `no-mdns = true` is what someone writes who knows the flag.
_NEGATED = {"no-mdns": "mdns", "no-same-host": "same-host"}
_KEYS = {**SETTINGS, **_REFUSED}
_KNOWN_KEYS = (*SETTINGS, *_REFUSED, *_NEGATED)


class ConfigError(SpacedriveNodeError, ValueError):
    """The configuration cannot be used; one line for each thing that is wrong."""

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
    """Put the configuration together.

    `flags` has keys as the file has (or as NodeConfig has); None and empty tuples count as not given.
    Raises ConfigError with everything that is wrong, wherever it stands.
    """
    loading = _Loading()
    if file is not None:
        loading.read_file(Path(file))
    loading.read_environment(env)
    loading.read_flags(flags)
    if loading.problems:
        raise ConfigError(loading.problems)
    values = {SETTINGS[key].field: value for key, value in loading.values.items()}
    if "metrics-listen" in loading.values:
        values["metrics_fallback"] = False
    return LoadedConfig(NodeConfig(**values), loading.sources, loading.remarks)


class _Loading:
    """Takes the sources from the weakest to the strongest; a later one replaces a value as a whole."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []
        self.remarks: list[str] = []

    def _set(self, setting: Setting, raw: object, label: str, source: str, *, negated: bool = False) -> None:
        try:
            value = setting.parse(raw)
        except InvalidValueError as wrong:
            self.problems.append(f"{label}: {wrong}")
            return
        if setting.key in _REFUSED:  # switched off: the same as not given
            return
        self.values[setting.key] = not value if negated else value
        self.sources[setting.key] = source

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
                # No error: service managers and container hosts set variables of such names by themselves.
                self.remarks.append(f"{variable} is not a setting and is ignored{_suggest(variable, known)}")
            elif env[variable].strip():
                setting = _KEYS[_NEGATED.get(key, key)]
                source = f"environment {variable}"
                self._set(setting, env[variable], variable, source, negated=key in _NEGATED)

    def read_file(self, path: Path) -> None:
        try:
            raw = path.read_bytes()
            if len(raw) > _MAX_FILE_BYTES:
                raise ConfigError([f"{path}: larger than {_MAX_FILE_BYTES} bytes, this is no configuration"])
            text = raw.decode("utf-8")
            content = tomllib.loads(text)
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
        except UnicodeDecodeError as error:
            raise ConfigError([f"{path}:{raw[: error.start].count(10) + 1}: not UTF-8 text"]) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([_toml_problem(path, text, error)]) from None
        seen: dict[str, str] = {}
        for name, value in content.items():
            key = name.replace("_", "-")
            line = line_of(text, name)
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
    message = str(error)
    position = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = position.group(1) if position else None
    reason = message[: position.start()] if position else message
    return f"{path}:{line or max(1, len(text.splitlines()))}: {reason}"


def line_of(text: str, key: str) -> int:
    """Return the line (from 1) on which a top-level key or table of a TOML text begins; 1 if unseen."""
    name = re.escape(key)
    pattern = re.compile(rf"""^\s*\[*\s*(?:{name}|"{name}"|'{name}')\s*[=.\]]""")
    for number_, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number_
    return 1


def _line_of_wrong_item(text: str, start: int, items: list[object], setting: Setting) -> int:
    """Return the line of the first item that is refused alone; the line of the key when there is none."""
    for item in items:
        try:
            setting.parse([item])
        except InvalidValueError:
            for number_, line in enumerate(text.splitlines()[start - 1 :], start):
                if str(item) in line:
                    return number_
    return start


def _suggest(word: str, known: "Mapping[str, object] | tuple[str, ...]") -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def to_toml(loaded: LoadedConfig, defaults: Mapping[str, str]) -> str:
    """Return the effective configuration as a TOML file that gives it again, with the source of each value.

    `defaults` names what stands for values that depend on the machine (data-dir, name, control).
    """
    rows: list[tuple[str, str]] = []
    for setting in SETTINGS.values():
        key = setting.key
        value = getattr(loaded.config, setting.field)
        source = loaded.sources.get(key, "default")
        if key == "listen" and not value:
            rows.append((f"# listen = [{_toml(DEFAULT_LISTEN)}]", f"{source}, or a free port"))
        elif key == "metrics-listen" and loaded.config.metrics_fallback:
            rows.append((f"# {key} = {_toml(value)}", f"{source}, or a free port"))
        elif key == "passphrase-file" and value is None:
            continue
        elif value is None and key != "metrics-listen":
            rows.append((f"# {key} = {_toml(defaults.get(key, ''))}", source))
        else:
            rows.append((f"{key} = {_toml('off' if value is None else value)}", source))
    width = min(48, max(len(left) for left, _ in rows))
    lines = [f"{left:<{width}}  # {source}" for left, source in rows]
    return "\n".join([*lines, *(f"# {remark}" for remark in loaded.remarks)]) + "\n"


def effective(loaded: LoadedConfig, defaults: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Return each setting by key: {"value", "source"}; null where there is none, as with a port that is free.

    `defaults` as for :func:`to_toml`.
    """
    found: dict[str, dict[str, object]] = {}
    for setting in SETTINGS.values():
        value = getattr(loaded.config, setting.field)
        if value is None:
            value = "off" if setting.key == "metrics-listen" else defaults.get(setting.key)
        found[setting.key] = {"value": value, "source": loaded.sources.get(setting.key, "default")}
    return found


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, int | float):
        return _plain(value)
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string
