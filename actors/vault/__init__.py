"""The vault: this device's keys and the devices it trusts; the one process that opens the data directory.

data_directory    the directory, its lock, atomic writes
identity_file     two Ed25519 seeds and the storage key; passphrase_seal: its sealed form
device_info       what this device calls itself
database          the SQLite file and its migrations
device_store      device records, and the journal that makes each input take effect once
device_record     one record and its seal; records_in_use: which of several counts
session_evidence  the user's acceptances and the peers that the swarm named (checkpoint)
admission         whether a device may be stored
machine           the stepping actor: decides, in terms of all of these
actor             the entry point
"""

from .actor import main

__all__ = ["main"]
