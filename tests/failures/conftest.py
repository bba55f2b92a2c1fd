"""The modules of the failures, and those of the storm, by their plain names."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "chaos")]
