"""Silences the log of libp2p: what matters of it, this project reports itself."""

import logging

import libp2p.network.connection.swarm_connection as library_connection


def silence_library_logs() -> None:
    """Silence every logger of the library, for the whole process.

    Defect (0.8.1): every failed dial is logged as an error, with peer ids, and partly by the root logger:
    network/connection/swarm_connection.py calls logging.warning().
    Test: tests/swarm/test_library_logs.py.
    """
    logger = logging.getLogger("libp2p")
    for name in ("libp2p", *(name for name in logging.root.manager.loggerDict if name.startswith("libp2p."))):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    library_connection.logging = logging.getLogger("libp2p.network.connection")
