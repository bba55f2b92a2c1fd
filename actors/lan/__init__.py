"""The lan actor: finds and announces codes on the local network by mDNS. It parses what anybody there sends.

lan            what every message, packet and interface causes
admission      which packets are read at all
dns_messages   reads and writes DNS messages
service        the names and records of this service, and what is believed of them
responder      the codes that this node shows: announced, told, taken back
browser        the codes that are looked for: asked for, reported
interfaces     the network interfaces, from netlink
packet_filter  drops the packets of those who flood, in the kernel
sockets        UDP and netlink
packets        what the parts exchange
token_bucket   a bound on how often something happens
actor          the entry point: channel, time and sockets
"""

from .actor import main

__all__ = ["main"]
