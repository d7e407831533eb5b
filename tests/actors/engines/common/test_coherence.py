"""Language is told from garbage, whatever the garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.common.coherence import coherent

SENSE = [
    "The capital of France is Paris, which lies on the Seine and has about two million inhabitants.",
    "To sort a list in Python, call sorted() with the list; it returns a new one and leaves the old one as it was.",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))  # 3\n",
    "Die Hauptstadt von Frankreich ist Paris; sie liegt an der Seine und hat etwa zwei Millionen Einwohner.",
    "法国的首都是巴黎,它位于塞纳河畔,约有两百万居民,是欧洲最大的城市之一。",
    "1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987",
]


@pytest.mark.parametrize("text", SENSE)
def test_language_code_and_numbers_are_coherent(text: str) -> None:
    assert coherent([text, SENSE[0]]) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        ("!" * 128, "one character repeated"),
        ("! ! ! ! ! ! ! ! ! ! ! ! ! ! ! !", "one character repeated"),
        ("the the the the the the the the the the", "one word repeated"),
        ("and so it goes on " * 30, "one phrase repeated"),
        ("nan nan nan nan nan", "not a number"),
        ("\ufffd\ufffd\ufffdab\ufffd\ufffd", "broken characters"),
        ("\x00\x01\x02\x03", "broken characters"),
        ("!!!!!!", "one character repeated"),
    ],
)
def test_garbage_is_named(text: str, why: str) -> None:
    found = coherent([text] * 2)
    assert found is not None
    assert why in found
    assert found.startswith("2 of 2 answers")


def test_one_odd_answer_is_the_models_and_not_the_machines() -> None:
    assert coherent([*SENSE, ""]) is None


def test_the_same_answer_to_every_question_is_none() -> None:
    found = coherent([SENSE[0]] * 5)
    assert found is not None
    assert "the same" in found


def test_nothing_to_look_at_is_said() -> None:
    assert coherent([]) == "no answer to look at"


@given(st.lists(st.text()))
def test_any_text_is_judged(texts: list[str]) -> None:
    found = coherent(texts)
    assert found is None or found
