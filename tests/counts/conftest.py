"""The harness of tests/node under a name of its own: several areas have a `harness`."""

import importlib.util
import sys
from pathlib import Path

PLACES = {"harness_of_whole_nodes": "node/harness.py", "simulated_network": "discovery/network.py"}

for name, place in PLACES.items():
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / place)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])

sys.path.append(str(Path(__file__).parent))
