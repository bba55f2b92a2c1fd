"""Every union of messages with its decoder, by who receives it."""

from typing import Any

from spacedrive_node.messages import (
    child_protocol,
    control_protocol,
    peer_protocol,
    to_discovery,
    to_gateway,
    to_lan,
    to_metrics,
    to_session,
    to_supervisor,
    to_swarm,
    to_vault,
    to_web,
)
from spacedrive_node.messages.base import Decoder

UNIONS: dict[str, tuple[Any, Decoder[Any]]] = {
    "session": (to_session.SessionInbox, to_session.decode),
    "vault": (to_vault.VaultInbox, to_vault.decode),
    "swarm": (to_swarm.SwarmInbox, to_swarm.decode),
    "discovery": (to_discovery.DiscoveryInbox, to_discovery.decode),
    "lan": (to_lan.LanInbox, to_lan.decode),
    "gateway": (to_gateway.GatewayInbox, to_gateway.decode),
    "metrics": (to_metrics.MetricsInbox, to_metrics.decode),
    "web": (to_web.WebInbox, to_web.decode),
    "supervisor": (to_supervisor.SupervisorInbox, to_supervisor.decode),
    "from child": (child_protocol.FromChild, child_protocol.decode_from_child),
    "to child": (child_protocol.ToChild, child_protocol.decode_to_child),
    "request": (control_protocol.Request, control_protocol.decode_request),
    "reply": (control_protocol.Reply, control_protocol.decode_reply),
    "wire": (peer_protocol.WireMessage, Decoder(peer_protocol.WireMessage)),
}


def members(union: Any) -> list[type]:
    return list(getattr(union, "__args__", (union,)))
