"""The harness of tests/node under a name of its own: several areas have a `harness`."""

import importlib.util
import sys
from pathlib import Path

NAME = "harness_of_whole_nodes"

if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).parent.parent / "node" / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])

Killer = sys.modules[NAME].Killer
Node = sys.modules[NAME].Node
pair = sys.modules[NAME].pair
running_node = sys.modules[NAME].running_node
