"""spacedrive-node: two devices find each other with twelve words and trust each other from then on.

The public face for Python programs; what it names is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import Node, NodeStartFailed, open_node
    from .client import (
        Code,
        Confirmation,
        ControlError,
        NodeClient,
        NodeGone,
        Pairing,
        PairingFailed,
        open_client,
    )
    from .config import NodeConfig
    from .paths import NoNodeRunning, SeveralNodes, UnsafePath

_WHERE = {
    "Code": "client",
    "Confirmation": "client",
    "ControlError": "client",
    "NoNodeRunning": "paths",
    "Node": "api",
    "NodeClient": "client",
    "NodeConfig": "config",
    "NodeGone": "client",
    "NodeStartFailed": "api",
    "Pairing": "client",
    "PairingFailed": "client",
    "SeveralNodes": "paths",
    "UnsafePath": "paths",
    "open_client": "client",
    "open_node": "api",
}

__all__ = [
    "Code",
    "Confirmation",
    "ControlError",
    "NoNodeRunning",
    "Node",
    "NodeClient",
    "NodeConfig",
    "NodeGone",
    "NodeStartFailed",
    "Pairing",
    "PairingFailed",
    "SeveralNodes",
    "UnsafePath",
    "__version__",
    "open_client",
    "open_node",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
