"""Kademlia: this node's server, and single requests to other servers. Lookups are the discovery actor's.

In reading order:

dht_client.py        one request to one server, for discovery
dht_server.py        answers other peers' requests
provider_records.py  who has announced itself for which key
routing_table.py     which servers this node knows, and what discovery hears about them
"""
