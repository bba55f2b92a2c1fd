"""Clients of a node: they talk to it through its control socket (docs/interfaces.md, "Control socket").

node_client         NodeClient: everything that the control socket offers, as methods
pairing             Pairing: one session, its states and what its user decides
all_sessions        the states of all sessions
control_connection  the connection below them, which reconnects and repeats what is unanswered
embedded            open_node: a node as a child process of the program that uses it
one_shot            one request and its reply, without an event loop
child_process       a child process and its lines
tasks               what these need of trio or asyncio beyond anyio
errors              what can go wrong, and which reply becomes a result or an error
"""
