"""libp2p without what a node does not use of it: `import libp2p` brings every transport, and more besides.

While :func:`stub_unused_modules` runs, the modules in NOT_USED are stood in for. A stand-in can be
imported, subclassed and named in annotations; whatever is done with it otherwise raises StubCalledError.
Once libp2p is imported the stand-ins are no longer found, so that whoever imports one of these modules
later gets the true one. Measured: 29 MiB less for the process, and half of the time that the import takes
(docs/performance.md).
"""

import sys
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from ....messages.errors import SpacedriveNodeError

NOT_USED = (
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
    # Finding peers, and the names of hosts: discovery and swarm/dial/resolver.py do that.
    "libp2p.discovery",
    "dns",
    "miniupnpc",
    "zeroconf",
    # Services that it does not run.
    "libp2p.bitswap",
    "libp2p.pubsub",
    "cbor2",
    "httpx",
    "requests",
    # Figures: the metrics actor has them.
    "libp2p.observability",
    "libp2p.rcmgr.prometheus_exporter",
    "prometheus_client",
)


class StubCalledError(SpacedriveNodeError, RuntimeError):
    """Something of libp2p was used that is not there; the text names it."""


class _Named(type):
    """The type of every class that a stand-in has: it has any attribute, and no instances."""

    def __getattr__(cls, name: str) -> Any:
        return _stand_in(cls.__qualname__, name)

    def __call__(cls, *_args: Any, **_named: Any) -> NoReturn:
        raise StubCalledError(f"{cls.__qualname__} is left out of this process (lean.NOT_USED)")

    def __or__(cls, other: Any) -> Any:
        return other

    __ror__ = __or__

    def __getitem__(cls, _key: Any) -> Any:
        return cls


def _stand_in(owner: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name.endswith(("Error", "Exception")):  # it may stand in an `except`
        return type(name, (Exception,), {})
    return _Named(f"{owner}.{name}", (), {})


class _Module(ModuleType):
    __path__: MutableSequence[str] = []  # noqa: RUF012, never changed

    def __getattr__(self, name: str) -> Any:
        found = _stand_in(self.__name__, name)
        setattr(self, name, found)
        return found


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if any(fullname == name or fullname.startswith(f"{name}.") for name in NOT_USED):
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return


@contextmanager
def stub_unused_modules() -> Iterator[None]:
    """Import libp2p in this block. Does nothing for modules that have been imported before."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]
