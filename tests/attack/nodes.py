"""Harnesses of other test areas, which the import mode of these tests keeps out of reach of an import."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load(area: str, module: str) -> Any:
    """Return tests/<area>/<module>.py, under a name of its own, with what it imports beside it."""
    package = f"attacks_use_{area}"
    if package not in sys.modules:
        parent = sys.modules[package] = ModuleType(package)
        parent.__path__ = [str(Path(__file__).parents[1] / area)]
    return importlib.import_module(f"{package}.{module}")


_harness = load("node", "harness")
DEADLINE: float = _harness.DEADLINE
Killer, Node, pair, running_node = _harness.Killer, _harness.Node, _harness.pair, _harness.running_node
