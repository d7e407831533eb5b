"""Makes ``run_tables`` importable by the tests beside it, and the drawn examples the same on every machine and day."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile("statistics", deadline=None, derandomize=True)
settings.load_profile("statistics")
