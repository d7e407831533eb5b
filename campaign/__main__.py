"""The command ``campaign``, and ``python -m campaign``: interrupted at any moment it ends with one code and no stack.

Ctrl-C, SIGTERM and SIGHUP are one thing to every verb, a ``KeyboardInterrupt``, after which it tidies up; before a verb
has begun and after it has ended there is nothing to tidy up.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from actors.errors import EXIT_INTERRUPTED

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _listen(handler: Callable[[int, Any], Any]) -> None:
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup, say
            signal.signal(number, handler)


def _at_once(number: int, frame: object) -> None:
    os._exit(EXIT_INTERRUPTED)


def main() -> None:
    _listen(_at_once)
    from campaign import cli

    _listen(signal.default_int_handler)
    try:
        cli.main()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    finally:
        _listen(_at_once)


if __name__ == "__main__":
    main()
