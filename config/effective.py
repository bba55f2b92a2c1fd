"""What `sdnode up --check-config` prints: a loaded configuration with the source of each value.

Pure: a LoadedConfig in, text or an object out. docs/interfaces.md, "sdnode up".
"""

import json
from collections.abc import Mapping

from .loading import LoadedConfig
from .settings import SETTINGS, number_text

_SWITCHED_OFF = ("metrics-listen", "web")
"""Settings whose None is written `off`."""


def to_toml(loaded: LoadedConfig, defaults: Mapping[str, str]) -> str:
    """Return the configuration as a TOML file that would give it again, with the source of each value.

    `defaults` has the values that depend on the machine (data-dir, name, control), used where none was given.
    """
    rows: list[tuple[str, str]] = []
    for setting in SETTINGS.values():
        key = setting.key
        value = getattr(loaded.config, setting.field)
        source = loaded.sources.get(key, "default")
        if key == "listen" and not value:
            listen = _toml_value(loaded.config.listen_addresses)
            rows.append((f"# listen = {listen}", f"{source}, or a free port"))
        elif key == "metrics-listen" and loaded.config.metrics_fallback:
            rows.append((f"# {key} = {_toml_value(value)}", f"{source}, or a free port"))
        elif value is None and setting.is_path and key not in defaults:
            continue
        elif value is None and key not in _SWITCHED_OFF:
            rows.append((f"# {key} = {_toml_value(defaults.get(key, ''))}", source))
        else:
            rows.append((f"{key} = {_toml_value('off' if value is None else value)}", source))
    width = min(48, max(len(left) for left, _ in rows))
    lines = [f"{left:<{width}}  # {source}" for left, source in rows]
    return "\n".join([*lines, *(f"# {remark}" for remark in loaded.remarks)]) + "\n"


def effective_settings(loaded: LoadedConfig, defaults: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """Return each setting by key as {"value", "source"}; the value is None where there is none.

    `defaults` as for :func:`to_toml`.
    """
    found: dict[str, dict[str, object]] = {}
    for setting in SETTINGS.values():
        value = getattr(loaded.config, setting.field)
        if value is None:
            value = "off" if setting.key in _SWITCHED_OFF else defaults.get(setting.key)
        found[setting.key] = {"value": value, "source": loaded.sources.get(setting.key, "default")}
    return found


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, int | float):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML basic string
