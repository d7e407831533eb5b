"""What an image's own programs say of themselves: an engine's help texts, asked once for each image, inside the arm.

Options differ between versions, and an engine chooses them by what ``--help`` lists (``PROBES`` of its module).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from actors.engines.known import PROBES
from actors.engines.stamped import read_lines
from actors.environments import Arm, EnvironmentError_
from actors.types import ImageIdentity, Launch

LONGEST_S = 600.0
"""Such a program loads all of its libraries before it tells its options."""


def ask(engine: str, arm: Arm, image: ImageIdentity | None, home: Path) -> tuple[dict[str, str], list[str]]:
    """Fact to the text of the help, and what could not be asked, in words. Answers are kept by image in ``<home>/probes``."""
    probes = PROBES.get(engine, {})
    kept = home / "probes" / f"{engine}-{image.digest.rpartition(':')[2][:12]}.json" if image else None
    facts = _kept(kept)
    failures = []
    for fact, argv in probes.items():
        if fact in facts:
            continue
        try:
            facts[fact] = _output(arm, argv, image)
        except EnvironmentError_ as error:
            failures.append(f"`{' '.join(argv)}` could not be asked, options common to all versions are used: {error}")
    if kept is not None and facts and not failures:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".new")
        partial.write_text(json.dumps(facts, indent=1))
        partial.replace(kept)
    return {fact: text for fact, text in facts.items() if fact in probes}, failures


def _kept(file: Path | None) -> dict[str, str]:
    try:
        return dict(json.loads(file.read_text())) if file else {}
    except (OSError, ValueError):
        return {}


def _output(arm: Arm, argv: tuple[str, ...], image: ImageIdentity | None) -> str:
    """What the program writes to its standard output. Raises EnvironmentError_ where it fails."""
    labels = {"campaign": "probe", "run": arm.spec.name, "attempt": "0"}
    with tempfile.TemporaryDirectory(prefix="campaign-probe-") as folder:
        process = arm.create(Launch(argv=argv), labels, Path(folder), image)
        try:
            process.start()
            ended = process.wait(LONGEST_S)
            if ended is None:
                process.stop()
        finally:
            process.close()
        said = [
            "\n".join(line.text for line in read_lines(Path(folder, name).read_text(errors="replace")))
            for name in ("stdout.log", "stderr.log")
        ]
    if ended is None:
        raise EnvironmentError_(f"it does not end within {LONGEST_S:g} s")
    if ended.code != 0:
        raise EnvironmentError_(f"it ends with {ended.code}: {said[1].strip()[-300:]}")
    return said[0]
