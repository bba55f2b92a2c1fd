"""Clients of a node: they talk to it through its control socket (docs/interfaces.md, "Control socket").

node_client         NodeClient and Pairing: everything that the control socket offers, as methods
control_connection  the connection below them, which reconnects and repeats what is unanswered
embedded            open_node: a node as a child process of the program that uses it
one_shot            one request and its reply, without an event loop
errors              what can go wrong, and which reply becomes a result or an error
"""
