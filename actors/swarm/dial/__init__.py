"""Connections to peers: which addresses there are, how names become addresses, who is dialled."""
