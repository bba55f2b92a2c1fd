"""What this node may say of its own reachability, from all evidence. Pure.

Evidence are the verdicts of AutoNAT (checks.py), inbound connections from where nothing was ever sent
(contacts.py), and how the NAT maps ports (observed.py). What follows from each for people is in
docs/operations.md, "Reachability". Implements docs/protocol.md, "Reachability".
"""

from collections.abc import Iterable
from typing import Final

from ....messages.actor_configs import SwarmConfig
from ....messages.types import Reachability
from ..dial import addresses
from .observed import Mapping

UNSOLICITED_S: Final = 1860.0
"""For how long an unsolicited inbound connection counts."""


_BY_MAPPING: dict[Mapping, Reachability] = {
    "independent": "punchable",
    "dependent": "symmetric",
    "unknown": "unknown",
}


def judge(*, is_reached: bool, mapping: Mapping) -> Reachability:
    """Return the reachability of a node that speaks with the Internet.

    `is_reached`: an address is reachable, or an unsolicited connection has come in.
    """
    if is_reached:
        return "public"
    return _BY_MAPPING[mapping]


def fixed(config: SwarmConfig, announced: Iterable[str]) -> Reachability | None:
    """Return the reachability of a node that keeps to its host or network; None for any other."""
    ips = [one.ip for one in addresses.usable(announced)]
    if config.offline or all(ip is not None and ip.is_loopback for ip in ips):
        return "this host"
    return "private" if config.lan_only else None


def serves_dht(config: SwarmConfig, reachability: Reachability) -> bool:
    """Return whether a node offers to answer the DHT requests of others.

    With `auto` it does where others reach it: on the Internet, or in the network to which it keeps. Those in
    the public network are everywhere.
    """
    if config.dht_mode != "auto":
        return config.dht_mode == "server"
    return reachability == "public" or (not config.public and reachability in ("private", "this host"))
