"""What follows from each reachability of a node, for people (docs/operations.md, "Reachability")."""

from .types import Reachability

REACHABILITY_TEXTS: dict[Reachability, str] = {
    "unknown": "it is not known yet whether others reach this node from the Internet",
    "public": "others reach this node from the Internet",
    "punchable": "behind a NAT or firewall: others reach it only while it dials them at the same time",
    "symmetric": "behind a NAT that maps each connection anew: it only reaches those who are reachable",
    "private": "this node keeps to the local network, and is reached from there",
    "this host": "this node is reached from this host only",
}
