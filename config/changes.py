"""What differs between the configuration that a node runs with and another one, setting by setting.

Owns which settings cannot change while a node runs: those that say which node it is. Pure, but for looking up
where files are by default. docs/interfaces.md, "sdnode reload".
"""

from pathlib import Path

from ..messages.to_gateway import SettingChange
from .node_sockets import wanted_control
from .paths import default_data_dir
from .settings import SETTINGS, NodeConfig, Setting, number_text

_FIXED = frozenset({"data-dir", "control", "passphrase-file", "web", "web-token-file"})
"""The node would be another one, be found nowhere by those who use it, or lose its key or its page."""
_MAX_SHOWN_BYTES = 256
_CUT = "..."


def changes_of(former: NodeConfig, new: NodeConfig) -> tuple[SettingChange, ...]:
    """Return the settings in which two configurations differ, in the order of the documentation."""
    return tuple(
        SettingChange(
            setting.key,
            _text(getattr(former, setting.field)),
            _text(getattr(new, setting.field)),
            setting.key in _FIXED or _needs_its_port_again(setting.key, former, new),
        )
        for setting in SETTINGS.values()
        if _differs(setting, former, new)
    )


def _differs(setting: Setting, former: NodeConfig, new: NodeConfig) -> bool:
    if getattr(former, setting.field) == getattr(new, setting.field):
        return False
    match setting.key:
        case "data-dir":  # one that is named may be the one by default
            return data_dir_of(former) != data_dir_of(new)
        case "control":
            return wanted_control(former, data_dir_of(former)) != wanted_control(new, data_dir_of(new))
    return True


def _needs_its_port_again(key: str, former: NodeConfig, new: NodeConfig) -> bool:
    """Return whether metrics would listen on the port that they have, at another address.

    Both sockets would have to be open at once, and the system refuses that.
    """
    if key != "metrics-listen" or former.metrics_endpoint is None or new.metrics_endpoint is None:
        return False
    return 0 != former.metrics_endpoint[1] == new.metrics_endpoint[1]


def data_dir_of(config: NodeConfig) -> Path:
    """Return the data directory: as configured, or by default. Raises UnsafePathError."""
    return Path(config.data_dir) if config.data_dir else default_data_dir()


def _text(value: object) -> str:
    """Return a value for people, cut to length."""
    match value:
        case None:
            text = "none"
        case bool():
            text = "yes" if value else "no"
        case tuple():
            text = ", ".join(map(str, value)) or "none"
        case _:
            text = number_text(value)
    encoded = text.encode()
    if len(encoded) <= _MAX_SHOWN_BYTES:
        return text
    return encoded[: _MAX_SHOWN_BYTES - len(_CUT)].decode(errors="ignore") + _CUT
