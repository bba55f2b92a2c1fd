"""Kademlia: this node's server, and single requests to other servers."""
