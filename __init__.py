"""spacedrive-node: two devices find each other with twelve words and trust each other from then on.

The names that Python programs may rely on. Each is imported at its first use, so that importing the package
costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .client.embedded import Node, NodeStartError, open_node
    from .client.errors import ControlError, NodeEndedError, NodeGoneError, ReloadFailedError
    from .client.node_client import NodeClient, open_client
    from .client.pairing import Code, Confirmation, Pairing, PairingFailedError
    from .config.paths import UnsafePathError
    from .config.running_nodes import (
        NoNodeRunningError,
        RunningNode,
        SeveralNodesError,
        choose_node,
        running_nodes,
    )
    from .config.settings import NodeConfig
    from .messages.control_protocol import NodeStatus, SessionState, ShownDevice
    from .messages.errors import SpacedriveNodeError
    from .messages.peer_id_text import peer_id_text
    from .messages.to_gateway import ActorInfo, Device, ReloadReport, SettingChange
    from .protocol.peer_ids import peer_id_from_text

    NoNodeRunning = NoNodeRunningError
    NodeGone = NodeGoneError
    NodeStartFailed = NodeStartError
    PairingFailed = PairingFailedError
    SeveralNodes = SeveralNodesError
    UnsafePath = UnsafePathError

_MODULES = {
    "ActorInfo": "messages.to_gateway",
    "Code": "client.pairing",
    "Confirmation": "client.pairing",
    "ControlError": "client.errors",
    "Device": "messages.to_gateway",
    "NoNodeRunningError": "config.running_nodes",
    "Node": "client.embedded",
    "NodeClient": "client.node_client",
    "NodeConfig": "config.settings",
    "NodeEndedError": "client.errors",
    "NodeGoneError": "client.errors",
    "NodeStartError": "client.embedded",
    "NodeStatus": "messages.control_protocol",
    "Pairing": "client.pairing",
    "PairingFailedError": "client.pairing",
    "ReloadFailedError": "client.errors",
    "ReloadReport": "messages.to_gateway",
    "RunningNode": "config.running_nodes",
    "SessionState": "messages.control_protocol",
    "SettingChange": "messages.to_gateway",
    "SeveralNodesError": "config.running_nodes",
    "ShownDevice": "messages.control_protocol",
    "SpacedriveNodeError": "messages.errors",
    "UnsafePathError": "config.paths",
    "choose_node": "config.running_nodes",
    "open_client": "client.node_client",
    "open_node": "client.embedded",
    "peer_id_from_text": "protocol.peer_ids",
    "peer_id_text": "messages.peer_id_text",
    "running_nodes": "config.running_nodes",
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
    "ActorInfo",
    "Code",
    "Confirmation",
    "ControlError",
    "Device",
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
    "NodeStatus",
    "Pairing",
    "PairingFailed",
    "PairingFailedError",
    "ReloadFailedError",
    "ReloadReport",
    "RunningNode",
    "SessionState",
    "SettingChange",
    "SeveralNodes",
    "SeveralNodesError",
    "ShownDevice",
    "SpacedriveNodeError",
    "UnsafePath",
    "UnsafePathError",
    "__version__",
    "choose_node",
    "open_client",
    "open_node",
    "peer_id_from_text",
    "peer_id_text",
    "running_nodes",
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
