"""Reachability: from where this node can be reached, told truly; and AutoNAT v2 for others.

In reading order:

judgement.py         what this node says of itself, from all evidence
watch.py             gathers the evidence of the running host, and has addresses checked
core.py              all of that but its I/O
checks.py            which server is asked about which address, and what the answers add up to
contacts.py          to whom something was sent, so that no hole is taken for an open door
mapped_ports.py      which ports the gateway is asked to open
observed.py          how peers see this node: its public addresses, and the kind of its NAT
nonces.py            what proves that a dial has come through
autonat_client.py    asks one server about one address
autonat_server.py    answers such a question
dial_back.py         dials back, from another port and under another peer id
dial_back_limits.py  which address is dialled, at which price, how often
autonat_messages.py  the messages of AutoNAT v2
"""
