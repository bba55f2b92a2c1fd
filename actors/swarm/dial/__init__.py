"""Connections to peers: which addresses there are, how names become addresses, who is dialled.

In reading order:

addresses.py  the multiaddr forms that this node dials, listens on and announces; address blocks
interfaces.py the addresses of this host, the most useful first
dialer.py     finds or makes the connection to a peer
plan.py       the order and the times of the dials of one race
race.py       runs a race: the first connection wins
history.py    what earlier dials taught, on each network
hearsay.py    what is believed of addresses that a third party names
resolver.py   resolves host names inside the sandbox
"""
