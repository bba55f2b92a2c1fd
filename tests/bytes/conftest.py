"""Makes the supervisor's test actors importable, here and in forked children."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "supervisor"))
