"""Builds a libp2p host with every correction that is made at construction.

The corrections that need more of the swarm (connection_limits.py, after_identify) are applied by node.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import libp2p
import libp2p.network.swarm as library_swarm
from libp2p.crypto.keys import KeyPair

from . import dialing, identify, locks, multiplexer, negotiation, ping, tcp_sockets
from .connection_limits import connection_config
from .connections import use_remote_address
from .library_logs import silence_library_logs
from .notifications import leave_out_stream_events
from .peer_store import TolerantPeerStore
from .security import noise_only
from .stream_handlers import contain_stream_handlers

CORRECTED_VERSION = "0.8.1"
"""The version of libp2p that all corrections were written for. Test: tests/swarm/test_host_factory.py."""


def new_host(
    keys: KeyPair,
    max_connections: int,
    announced: Callable[[], list[Any]],
    more_transports: Sequence[Any] = (),
) -> Any:
    """Build a host that does not listen yet; `announced` returns the multiaddrs that identify reports.

    It has TCP, and `more_transports`.

    Defect (0.8.1): the default resource manager loses a slot at each rejection. None is used; the limits are
    the connection configuration's and this project's.
    Defect (0.8.1): addresses that peers claim to observe would be advertised. That is disabled.
    """
    silence_library_logs()
    use_remote_address()
    multiplexer.use_bounded_yamux()
    locks.use_ready_locks()
    negotiation.use_bounded_messages()
    tcp_sockets.use_ip6_only_listeners()
    tcp_sockets.use_zones()
    # Created for each network and never used: names are resolved before they come here (dial/resolver.py).
    library_swarm.DNSResolver = object
    peer_store = TolerantPeerStore()
    host = libp2p.new_host(
        key_pair=keys,
        sec_opt=noise_only(keys),
        muxer_opt=multiplexer.muxers(),
        peerstore_opt=peer_store,
        connection_config=connection_config(max_connections),
        addrs_factory=lambda _candidates: announced(),
        disable_identify_address_discovery=True,
    )
    network = host.get_network()
    network.set_resource_manager(None)
    network.transport_manager.add_transports(list(more_transports))
    contain_stream_handlers(network)
    leave_out_stream_events(network)
    negotiation.answer_proposals_in_one_packet(host)
    negotiation.propose_without_waiting(host)
    dialing.shorten_dials(network)
    dialing.never_dial_by_itself(host)
    identify.use_bounded_identify(host)
    identify.report_circuits_whole(host, announced)
    ping.forget_who_pinged(host)
    peer_store.is_connected = lambda peer_id: bool(network.get_connections(peer_id))
    return host
