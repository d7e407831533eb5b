"""The limits that a container of an image has where it asks for none."""

from __future__ import annotations

import re
from pathlib import Path

from actors.environments import ContainerEngine, EngineMissing
from actors.environments.docker.once import Ended, no_such_program, run_once

Rlimits = dict[str, tuple[int, int]]
RLIMITS = {
    "Max cpu time": "cpu",
    "Max file size": "fsize",
    "Max data size": "data",
    "Max stack size": "stack",
    "Max core file size": "core",
    "Max resident set": "rss",
    "Max processes": "nproc",
    "Max open files": "nofile",
    "Max locked memory": "memlock",
    "Max address space": "as",
    "Max msgqueue size": "msgqueue",
    "Max pending signals": "sigpending",
}
"""Row of /proc/<pid>/limits to the name in setrlimit(2)."""


_known_rlimits: dict[tuple[str, str], Rlimits] = {}
"""By engine and image."""


READERS = (
    ("cat", "/proc/self/limits"),
    ("python3", "-I", "-S", "-c", "print(open('/proc/self/limits').read())"),
    ("sh", "-c", 'while read -r line; do echo "$line"; done </proc/self/limits'),
)
"""Programs of which an image has at least one, if it has any. Its entry point is left out: it may write a banner."""


def container_rlimits(engine: ContainerEngine, digest: str, home: Path) -> Rlimits | str:
    """rlimit name to (soft, hard), -1 unlimited, in a container of that image that asks for none; or why it
    cannot be told. One container is run for it, once."""
    if (engine.name, digest) in _known_rlimits:
        return _known_rlimits[engine.name, digest]
    try:
        client = engine.connect(home)
    except EngineMissing as error:
        return f"no container could be asked for its own ({error})"
    why = []
    for program, *arguments in READERS:
        ended = run_once(client, digest, home, entrypoint=[program], command=arguments, network_mode="none")
        if isinstance(ended, Ended) and (found := read_rlimits(ended.stdout)):
            _known_rlimits[engine.name, digest] = found
            return found
        why.append(ended if isinstance(ended, str) else f"{program} ends with {ended.code}: {ended.stderr[-200:]}")
        if isinstance(ended, str) and not no_such_program(ended):
            break
    return f"no container could be asked for its own ({'; '.join(why)})"


def read_rlimits(text: str) -> Rlimits:
    """Of proc_pid_limits(5)."""
    found = {}
    for line in text.splitlines():
        row, *columns = re.split(r"\s{2,}", line.strip())
        if row in RLIMITS and len(columns) >= 2:
            soft, hard = (-1 if value == "unlimited" else int(value) for value in columns[:2])
            found[RLIMITS[row]] = (soft, hard)
    return found
