"""The discovery actor: finds the peers that may show a code, and makes this node findable.

core              what every message and the passing of time cause; starts and ends the following
search            one Find of a session: all finders at once, the DHT in rounds
candidates        merges what the finders name, with a limit for each source
announce          this node as provider of keys, at the closest servers, paced
bootstrap         which servers the swarm should connect to, and whether it knows one
lookup            the iterative Kademlia lookup: whom to ask next
lookup_driver     one lookup against the swarm
pending_requests  the requests to the swarm: bounded, with deadlines
context           what all searches and announcements share
mdns              the codes that lan announces and looks for
same_host         the register of this user's nodes on this host
metrics           what discovery measures
actor             the entry point: mailbox, time and registration files
"""

from .actor import main

__all__ = ["main"]
