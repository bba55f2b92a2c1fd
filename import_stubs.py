"""Imports a library with stubs in place of the modules that a node does not use.

`import libp2p` imports every transport and service. Measured with the stubs: 34 MiB less for the process, and
half of the time that the import takes (docs/performance.md).

While :func:`stub_unused_modules` runs, importing a module that is named to it gives a stub. A stub can be
imported, subclassed and named in annotations; calling one of its classes raises StubCalledError. What is used
of such a module while the library is imported, the caller gives. Afterwards
the stubs are removed, from sys.modules and as attributes of true packages, so that a later import of such a
module gives the true one. Never decides what is unused: whoever imports the library does.
"""

import sys
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn

from .messages.errors import SpacedriveNodeError


class StubCalledError(SpacedriveNodeError, RuntimeError):
    """A part of libp2p was used that was replaced by a stub; the text names it."""


class _StubClass(type):
    """The type of every class in a stub module. Such a class has any attribute, and no instances."""

    def __getattr__(cls, name: str) -> Any:
        return _stub_attribute(cls.__qualname__, name)

    def __call__(cls, *_args: Any, **_named: Any) -> NoReturn:
        raise StubCalledError(f"{cls.__qualname__} is left out of this process (import_stubs.py)")

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


class _StubFinder:
    """Finds a stub for each unused module; first in sys.meta_path while the library is imported.

    It does not inherit from the classes of importlib.abc, with which importlib.resources would be imported.
    """

    def __init__(self, unused: Sequence[str], used: Mapping[str, Mapping[str, object]]) -> None:
        self._unused = unused
        self._used = used

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname == "cffi":
            raise ModuleNotFoundError(fullname)
        if any(fullname == name or fullname.startswith(f"{name}.") for name in self._unused):
            return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        stub = _StubModule(spec.name)
        vars(stub).update(self._used.get(spec.name, {}))
        return stub

    def exec_module(self, module: ModuleType) -> None:
        return


@contextmanager
def stub_unused_modules(
    unused: Sequence[str], used: Mapping[str, Mapping[str, object]] = MappingProxyType({})
) -> Iterator[None]:
    """Import a library in this block, without what is `unused`. A module that was imported before stays.

    `used` has, for each unused module by its name, what the library calls of it while it is imported.
    """
    finder = _StubFinder(unused, used)
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
