"""Faults that tests bring about: kills, pulled cables, cut connections, actors that misbehave."""
