"""Imports libp2p with stubs in place of the modules that a node does not use.

`import libp2p` imports every transport and service. Measured with the stubs: 29 MiB less for the process, and
half of the time that the import takes (docs/performance.md).

While :func:`stub_unused_modules` runs, importing a module of UNUSED_MODULES gives a stub. A stub can be
imported, subclassed and named in annotations; calling one of its classes raises StubCalledError. Afterwards
the stubs are removed, from sys.modules and as attributes of true packages, so that a later import of such a
module gives the true one.
"""

import sys
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from ....messages.errors import SpacedriveNodeError

UNUSED_MODULES = (
    # Transports and security that the node does not offer.
    "libp2p.security.tls",
    "libp2p.transport.quic",
    "libp2p.transport.webrtc",
    "libp2p.transport.websocket",
    "libp2p.transport.webtransport",
    "libp2p.security.secio",
    "aioquic",
    "cryptography.x509",
    "trio_websocket",
    # Finding peers, and resolving names: the discovery actor and dial/resolver.py do that.
    "libp2p.discovery",
    "dns",
    "miniupnpc",
    "zeroconf",
    # Services that the node does not run.
    "libp2p.bitswap",
    "libp2p.pubsub",
    "cbor2",
    "httpx",
    "requests",
    # Metrics: the metrics actor exports them.
    "libp2p.observability",
    "libp2p.rcmgr.prometheus_exporter",
    "prometheus_client",
)


class StubCalledError(SpacedriveNodeError, RuntimeError):
    """A part of libp2p was used that was replaced by a stub; the text names it."""


class _StubClass(type):
    """The type of every class in a stub module. Such a class has any attribute, and no instances."""

    def __getattr__(cls, name: str) -> Any:
        return _stub_attribute(cls.__qualname__, name)

    def __call__(cls, *_args: Any, **_named: Any) -> NoReturn:
        raise StubCalledError(f"{cls.__qualname__} is left out of this process (import_stubs.UNUSED_MODULES)")

    def __or__(cls, other: Any) -> Any:
        return other

    __ror__ = __or__

    def __getitem__(cls, _key: Any) -> Any:
        return cls


def _stub_attribute(owner: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name.endswith(("Error", "Exception")):  # it may be named in an `except`
        return type(name, (Exception,), {})
    return _StubClass(f"{owner}.{name}", (), {})


class _StubModule(ModuleType):
    __path__: MutableSequence[str] = []  # noqa: RUF012, never changed

    def __getattr__(self, name: str) -> Any:
        found = _stub_attribute(self.__name__, name)
        setattr(self, name, found)
        return found


class _StubFinder(MetaPathFinder, Loader):
    """Finds a stub for each unused module; first in sys.meta_path while libp2p is imported."""

    def __init__(self, unused: Sequence[str]) -> None:
        self._unused = unused

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if any(fullname == name or fullname.startswith(f"{name}.") for name in self._unused):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return


@contextmanager
def stub_unused_modules(unused: Sequence[str] = UNUSED_MODULES) -> Iterator[None]:
    """Import libp2p in this block, without what is `unused`. A module that was imported before stays."""
    finder = _StubFinder(unused)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _StubModule)]:
            del sys.modules[name]
            package, _, attribute = name.rpartition(".")
            if isinstance(getattr(sys.modules.get(package), attribute, None), _StubModule):
                delattr(sys.modules[package], attribute)
