"""Clients of a node: they talk to it through its control socket (docs/interfaces.md, "Control socket").

embedded            open_node: a node as a child process of the program that uses it
node_client         NodeClient and Pairing: what the control socket offers, as methods
control_connection  the connection beneath it, which reconnects and repeats
one_shot            one request and its reply, without an event loop
errors              what can go wrong, and which reply means what
"""
