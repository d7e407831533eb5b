"""One Docker engine for the test processes that run side by side: none of them may end it under another.

``python tests/engine.py start`` prints ``started`` where there was none; ``remove`` ends that one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent
HOME = Path(os.environ.get("CAMPAIGN_HOME") or PROJECT / ".campaign")


def main(verb: str) -> None:
    from actors.environments import EngineMissing
    from actors.environments.docker import daemon

    if verb == "remove":
        daemon.remove(HOME)
        return
    try:
        found = daemon.ensure(HOME, say=lambda line: print(line, file=sys.stderr))
    except EngineMissing:
        return  # the tests that need one say so
    if found.started:
        print("started")


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    main(sys.argv[1])
