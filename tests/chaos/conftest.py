"""The storm's modules by their plain names, as the program imports them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
