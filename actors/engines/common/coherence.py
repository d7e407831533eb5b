"""Whether answers are language at all. Kernels for 4-bit weights are known to return garbage in silence on some chips,
and garbage is served as fast as sense."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable

SHARE = 0.5
"""Of the answers; a single odd one is a model's, not a machine's."""
LONG = 24
"""Characters from which on an answer can be judged by what it repeats."""
SAME = 0.6
"""Share of one word, or of one character, from which on it is repetition. English is below a tenth and a fifth."""
SQUEEZED = 0.1
"""Compressed size over size: prose is at 0.4 to 0.6, a phrase over and over far below."""
BROKEN = 0.1
"""Share of replacement, control or private-use characters."""
NOT_A_NUMBER = re.compile(r"\b(?:nan|inf)\b", re.IGNORECASE)


def coherent(texts: Iterable[str]) -> str | None:
    """None where most of the answers are coherent, else why not, with an example. Not for random weights, whose answers
    are words without sense at best."""
    texts = list(texts)
    if not texts:
        return "no answer to look at"
    faults = [(fault, text) for text in texts if (fault := _fault(text))]
    if len(faults) > SHARE * len(texts):
        (fault, count), *_ = Counter(fault for fault, _ in faults).most_common()
        example = next(text for named, text in faults if named == fault)
        shown = f", as {example[:60]!r}" if example else ""
        return f"{count} of {len(texts)} answers are {fault}{shown}"
    if len(texts) > 2 and len({text.strip() for text in texts}) == 1:
        return f"all {len(texts)} answers are the same, {texts[0][:60]!r}"
    return None


def _fault(text: str) -> str:
    """What is wrong with one answer, or nothing."""
    bare = text.strip()
    if not bare:
        return "empty"
    if sum(not _printable(char) for char in bare) > BROKEN * len(bare):
        return "broken characters"
    words = bare.split()
    if sum(bool(NOT_A_NUMBER.search(word)) for word in words) > SAME * len(words):
        return "not a number"
    if len(bare) < LONG:
        return "one character repeated" if len(bare) > 4 and len(set(bare)) == 1 else ""
    (char, count), *_ = Counter(bare.replace(" ", "")).most_common()
    if count > SAME * len(bare.replace(" ", "")):
        return f"one character repeated ({char!r})"
    if len(words) > 4 and Counter(words).most_common(1)[0][1] > SAME * len(words):
        return "one word repeated"
    raw = bare.encode()
    if len(raw) >= 4 * LONG and len(zlib.compress(raw, 9)) < SQUEEZED * len(raw):
        return "one phrase repeated"
    return ""


def _printable(char: str) -> bool:
    return char.isspace() or (char.isprintable() and char != "\ufffd" and not "\ue000" <= char <= "\uf8ff")
