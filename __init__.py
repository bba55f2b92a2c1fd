"""spacedrive-node: two devices find each other with twelve words and trust each other from then on.

The public face for Python programs; what it names is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .client.embedded import Node, NodeStartFailed, open_node
    from .client.node_client import (
        Code,
        Confirmation,
        ControlError,
        NodeClient,
        NodeGone,
        Pairing,
        PairingFailed,
        open_client,
    )
    from .config.paths import NoNodeRunning, SeveralNodes, UnsafePath
    from .config.settings import NodeConfig

_WHERE = {
    "Code": "client.node_client",
    "Confirmation": "client.node_client",
    "ControlError": "client.node_client",
    "NoNodeRunning": "config.paths",
    "Node": "client.embedded",
    "NodeClient": "client.node_client",
    "NodeConfig": "config.settings",
    "NodeGone": "client.node_client",
    "NodeStartFailed": "client.embedded",
    "Pairing": "client.node_client",
    "PairingFailed": "client.node_client",
    "SeveralNodes": "config.paths",
    "UnsafePath": "config.paths",
    "open_client": "client.node_client",
    "open_node": "client.embedded",
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
