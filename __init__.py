"""spacedrive-node: two devices find each other with twelve words and trust each other from then on.

The names that Python programs may rely on. Each is imported at its first use, so that importing the package
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .client.embedded import Node, NodeStartError, open_node
    from .client.errors import ControlError, NodeEndedError, NodeGoneError
    from .client.node_client import (
        Code,
        Confirmation,
        NodeClient,
        Pairing,
        PairingFailedError,
        open_client,
    )
    from .config.paths import UnsafePathError
    from .config.running_nodes import NoNodeRunningError, SeveralNodesError
    from .config.settings import NodeConfig
    from .messages.errors import SpacedriveNodeError

    NoNodeRunning = NoNodeRunningError
    NodeGone = NodeGoneError
    NodeStartFailed = NodeStartError
    PairingFailed = PairingFailedError
    SeveralNodes = SeveralNodesError
    UnsafePath = UnsafePathError

_MODULES = {
    "Code": "client.node_client",
    "Confirmation": "client.node_client",
    "ControlError": "client.errors",
    "NoNodeRunningError": "config.running_nodes",
    "Node": "client.embedded",
    "NodeClient": "client.node_client",
    "NodeConfig": "config.settings",
    "NodeEndedError": "client.errors",
    "NodeGoneError": "client.errors",
    "NodeStartError": "client.embedded",
    "Pairing": "client.node_client",
    "PairingFailedError": "client.node_client",
    "SeveralNodesError": "config.running_nodes",
    "SpacedriveNodeError": "messages.errors",
    "UnsafePathError": "config.paths",
    "open_client": "client.node_client",
    "open_node": "client.embedded",
}

# Former names, which stay valid.
_ALIASES = {
    "NoNodeRunning": "NoNodeRunningError",
    "NodeGone": "NodeGoneError",
    "NodeStartFailed": "NodeStartError",
    "PairingFailed": "PairingFailedError",
    "SeveralNodes": "SeveralNodesError",
    "UnsafePath": "UnsafePathError",
}

__all__ = [
    "Code",
    "Confirmation",
    "ControlError",
    "NoNodeRunning",
    "NoNodeRunningError",
    "Node",
    "NodeClient",
    "NodeConfig",
    "NodeEndedError",
    "NodeGone",
    "NodeGoneError",
    "NodeStartError",
    "NodeStartFailed",
    "Pairing",
    "PairingFailed",
    "PairingFailedError",
    "SeveralNodes",
    "SeveralNodesError",
    "SpacedriveNodeError",
    "UnsafePath",
    "UnsafePathError",
    "__version__",
    "open_client",
    "open_node",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    present_name = _ALIASES.get(name, name)
    module = _MODULES.get(present_name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), present_name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
