"""The folders whose modules these tests import, as a script finds those beside it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

for folder in (ROOT / "steps" / "webgraph", ROOT / "samples"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
