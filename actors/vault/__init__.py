"""The vault: this device's identity and the devices that it trusts; the only process that opens their files.

In reading order:

    data_directory    the directory: private, locked against a second node, written atomically
    identity_file     the device key, transport key and storage key, created and read
    passphrase_seal   the form of that file that only a passphrase opens
    device_info       how this device describes itself to others
    database          the SQLite file: settings, schema, migrations
    device_record     one pairing with a device, and the seal on its secret
    store_files       whether the files of the store are still in their place
    device_store      the records, and the journal that makes each input take effect once
    session_evidence  what the gateway and the swarm reported about running sessions; the checkpoint
    admission         whether a device may be stored: a session's claim against the evidence
    forgetting        forgets devices, and ends the pairings with them that are under way
    records_in_use    which record of a device counts, and what the swarm must know of its peer
    peer_scores       which peers were of use: scores that fade, and bounds (no I/O)
    remembered_peers  these peers, in a file that may be lost
    settling          answers repeated decisions from the store, and takes in answers to own ones
    store_health      whether the store can be used; tries again by itself when it cannot
    device_list       a page of the list of devices
    metrics           how many devices are stored, for metrics
    machine           the stepping actor, which decides with all of these
    waiting           stands in for the machine while the files cannot be opened at a restart
    actor             the entry point
"""

from .actor import main

__all__ = ["main"]
