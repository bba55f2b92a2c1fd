"""Imports the modules that libp2p and multiaddr import only at first use."""

import importlib
import pkgutil

import multiaddr.codecs


def import_lazy_modules() -> None:
    """Import what the libraries import inside functions.

    Defect (0.8.1, network/connection/swarm_connection.py:234; multiaddr/codecs/__init__.py): modules are
    imported in functions. In a sandbox that opens no file this is too late.
    Test: tests/swarm/test_resolver.py, test_nothing_that_the_swarm_uses_is_imported_later.
    """
    codecs = [module.name for module in pkgutil.iter_modules(multiaddr.codecs.__path__)]
    for name in ("libp2p.utils.connection_shutdown", *(f"multiaddr.codecs.{codec}" for codec in codecs)):
        importlib.import_module(name)
