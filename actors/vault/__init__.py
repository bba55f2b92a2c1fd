"""The vault: this device's keys and the devices it trusts; the one process that opens the data directory.

files    the data directory, its lock, atomic writes
keys     the identity file: two Ed25519 seeds and the storage key
names    what this device calls itself
schema   the database file and its migrations
store    device records in generations, and the journal that makes each input take effect once
trust    the user's Accepts and the swarm's Vouches (checkpoint)
machine  the stepping actor: decides, in terms of all of these
actor    the entry point
"""

from .actor import main

__all__ = ["main"]
