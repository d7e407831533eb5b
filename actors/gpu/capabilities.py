"""What an image's own programs say of themselves: an engine's help texts, asked once for each image, inside the arm.

Options differ between versions, and an engine chooses them by what ``--help`` lists (``Engine.probes``). An image whose
program cannot even tell its options runs nothing, so a probe that fails is an error.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from actors.engines.common.failures import find_failure
from actors.engines.common.timestamped_log import read_lines
from actors.engines.registry import engine as engine_of
from actors.environments import Arm, EnvironmentError_
from actors.files.publish import publish
from actors.types import ImageIdentity, Launch

LONGEST_S = 600.0
"""Such a program loads all of its libraries before it tells its options."""

FEWEST = 3
"""Options besides ``--help`` that an answer must list: a table of option groups (``--help=all`` for more)
lists none."""

LAST_LINES = 12


@dataclass(frozen=True)
class Answer:
    argv: tuple[str, ...]
    code: int | None
    """None where it did not end."""
    out: str
    err: str

    @property
    def lists_options(self) -> bool:
        named = set(re.findall(r"(?<![\w-])--([a-z][\w-]+)", self.out)) - {"help", "version"}
        return self.code == 0 and len(named) >= FEWEST


def ask(engine: str, arm: Arm, image: ImageIdentity | None, home: Path) -> dict[str, str]:
    """Fact to the text of the help, of the first way to ask that lists options. Answers are kept by image in
    ``<home>/probes``.

    A fact is left out where the program answers, but lists no options in any way: the engine's own knowledge stands
    then. Raises EnvironmentError_ with the program's last words, the cause and what to do where it fails or does not
    end.
    """
    probes = engine_of(engine).probes
    kept = home / "probes" / f"{engine}-{image.digest.rpartition(':')[2][:12]}.json" if image else None
    known = _kept(kept)
    facts: dict[str, str] = {}
    for fact, ways in probes.items():
        key = json.dumps(ways)
        if key not in known:
            known[key] = _first_useful(arm, ways, image)
        if known[key]:
            facts[fact] = known[key]
    if kept is not None and facts:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with publish(kept) as partial:
            partial.write_text(json.dumps(known, indent=1))
    return facts


def _first_useful(arm: Arm, ways: tuple[tuple[str, ...], ...], image: ImageIdentity | None) -> str:
    """The first answer that lists options; empty where all only answer. A way that a version does not understand is one
    that fails: the next one then tells whether the program as such works."""
    for argv in ways:
        answer = _ask(arm, argv, image)
        if answer.lists_options:
            return answer.out
        if answer.code is None:
            break
    if answer.code != 0:
        raise EnvironmentError_(_explained(answer))
    return ""


def _explained(answer: Answer) -> str:
    """Command, exit code and last words, and where the cause is known, the cause and what to do."""
    ended = f"does not end within {LONGEST_S:g} s" if answer.code is None else f"ends with {answer.code}"
    lines = [line for line in f"{answer.out}\n{answer.err}".splitlines() if line.strip()]
    said = "\n".join(f"  {line}" for line in lines[-LAST_LINES:]) or "  (it says nothing)"
    failure = find_failure(lines)
    known = failure is not None and failure.name != "failed"
    cause = f"{failure.name}: {failure.detail}" if failure is not None and known else ""
    remedy = (
        failure.remedy if failure is not None and known else "Run the line by hand inside the image to see it fail."
    )
    first = f"`{shlex.join(answer.argv)}`, which tells the engine's options, {ended}"
    return f"{first}{f' ({cause})' if cause else ''}. Its last words:\n{said}\n{remedy}"


def _kept(file: Path | None) -> dict[str, str]:
    try:
        known = json.loads(file.read_text()) if file else {}
    except (OSError, ValueError):
        return {}
    return {key: text for key, text in known.items() if isinstance(text, str)} if isinstance(known, dict) else {}


def _ask(arm: Arm, argv: tuple[str, ...], image: ImageIdentity | None) -> Answer:
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
        out, err = (
            "\n".join(line.text for line in read_lines(Path(folder, name).read_text(errors="replace")))
            for name in ("stdout.log", "stderr.log")
        )
    return Answer(argv, ended.code if ended is not None else None, out, err)
