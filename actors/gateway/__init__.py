"""The gateway: the control socket, by which the command line and programs use a node (docs/interfaces.md).

actor              the entry point: accepts clients, publishes the states of sessions to them
client_connection  one client: reads requests, runs them, writes replies and events
page_connection    the connection of the page, over messages in place of a socket
outbox             what one client still has to be sent
handlers           what each request does and replies
actor_requests     requests to other actors, and waiting for what comes of them
node_state         read model of the node: identity, readiness, status
session_store      read model of the sessions: what each shows, and how it ended
"""

from .actor import main

__all__ = ["main"]
