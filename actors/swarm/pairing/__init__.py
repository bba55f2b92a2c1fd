"""Pairing frames: how they come in, how they go out, and what bounds both (docs/protocol.md, "Limits").

In reading order:

inbound.py           one exchange begun by a peer: its request goes to a session or the vault, the reply back
outbound.py          exchanges begun by this node: for a session, or to repeat a decision for the vault
frame_routing.py     which session a frame belongs to, and which peers the vault knows
pending_requests.py  requests to sessions and the vault that wait for their reply
exchange_slots.py    how many inbound exchanges run at once, and which one makes room
rate_limits.py       how often something may happen in a time window
ban_list.py          peers that sent too much rubbish, and address blocks that are served last
recent_table.py      a bounded mapping that forgets the least recently used entry
"""
