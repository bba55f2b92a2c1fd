"""Makes harness.py and actors_for_tests.py importable, here and in forked children."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
