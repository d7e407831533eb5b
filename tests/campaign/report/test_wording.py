"""No claim without evidence, and no digit without precision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.analysis import words
from campaign.report import wording

ROW = {
    "metric": "token_throughput_tok_s",
    "label": "output token throughput",
    "unit_of_measure": "tok/s",
    "better": "higher",
    "model": "tiny",
    "workload": "short",
    "reference": "native-chroot",
    "treatment": "docker-baseline",
    "phase": "baseline",
    "kind": "main",
    "n_reference": 10,
    "n_treatment": 10,
    "scale": "ratio",
    "effect": -1.5,
    "side": "worse",
    "pct": -1.5,
    "pct_level": 95.0,
    "pct_low": -2.1,
    "pct_high": -0.9,
    "margin_pct": 2.0,
    "verdict": "different",
    "reason": None,
    "claim": "the sentence of the claim",
}
INCONCLUSIVE = ROW | {"pct": -0.85, "pct_low": -2.1, "pct_high": 0.4, "verdict": "inconclusive", "side": None}
INCONCLUSIVE_LIMITS = {"pct_low": -0.4, "pct_high": 2.8, "verdict": "inconclusive", "side": None}
TOO_FEW = ROW | {"pct_low": None, "pct_high": None, "verdict": "insufficient_n", "n_reference": 1, "side": None}
FORBIDDEN = ("identical", "no overhead", "no difference", "within measurement error", "same performance", "equivalent")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-2.21, -0.93, "[−2.2, −0.9]"), (49.1234, None, "[above 49.1]"), (None, -3.0, "[below −3]"), (None, None, "–")],
)
def test_an_interval_with_one_limit_is_shown_with_that_one(low: float | None, high: float | None, said: str) -> None:
    assert wording.brackets({"scale": "ratio", "pct_low": low, "pct_high": high}) == said


def test_the_sentence_is_the_one_of_the_claim():
    assert wording.claim(ROW) == "the sentence of the claim"
    assert wording.headline([ROW]) == "docker-baseline lowers throughput on tiny, by 1.5 % against native-chroot."


def test_the_word_in_a_table_is_of_the_claims_side():
    assert words.verdict_word(ROW) == "worse"
    assert words.verdict_word(ROW | {"side": "better"}) == "better"
    assert words.verdict_word(ROW | {"side": None}) == "differs"
    assert words.worse(INCONCLUSIVE) is None


def test_an_interval_is_printed_with_its_level_and_its_open_sides():
    assert (wording.interval(ROW), wording.level(ROW)) == ("−2.1 to −0.9 %", "95")
    assert wording.interval(ROW | {"pct_low": None, "pct_level": 99.8333}) == "below −0.9 %"
    assert wording.level(TOO_FEW) == "–"
    in_units = {
        "scale": "difference",
        "difference_low": -3.0,
        "difference_high": 2.0,
        "difference_level": 99.0,
        "unit_of_measure": "s",
    }
    assert wording.interval(ROW | in_units) == "−3.0 to +2.0 s"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ROW],
        [INCONCLUSIVE],
        [TOO_FEW],
        [ROW, INCONCLUSIVE | {"model": "small"}],
        [
            ROW
            | {"verdict": "missing_arm", "n_treatment": 0, "pct": None, "pct_low": None, "pct_high": None, "side": None}
        ],
        [ROW | {"verdict": "not_interpretable", "reason": "the arms were not interleaved in time", "side": None}],
        [
            ROW
            | {"verdict": "deterministic", "effect": 0.0, "pct": 0.0, "pct_low": None, "pct_high": None, "side": None}
        ],
    ],
)
def test_sameness_is_never_claimed(rows):
    said = " ".join([wording.headline(rows), *map(wording.claim, rows), *map(wording.verdict_word, rows)]).lower()
    assert not [word for word in FORBIDDEN if word in said], said


def test_the_headline_counts_the_models():
    rows = [
        ROW,
        ROW | {"model": "small", "pct": -2.34, "pct_low": -2.9, "pct_high": -1.8},
    ]
    assert (
        wording.headline(rows)
        == "docker-baseline lowers throughput on all 2 models, by 1.5 to 2.3 % against native-chroot."
    )


def test_the_range_is_of_all_models_and_not_of_those_that_passed_a_test():
    rows = [
        ROW,
        ROW | {"model": "small", "pct": -2.34, "pct_low": -2.9, "pct_high": -1.8},
        INCONCLUSIVE | {"model": "big"},
    ]
    assert wording.headline(rows) == (
        "docker-baseline lowers throughput on 2 of 3 models against native-chroot; 1 of 3 cannot be told; "
        "the estimates on all 3 are −2.3 to −0.8 %."
    )


def test_what_two_equal_arms_show_comes_first():
    twin = INCONCLUSIVE | {"treatment": "docker-twin", "reference": "docker-baseline", "twins": True}
    said = wording.headline([ROW, twin])
    assert said.startswith(
        "A/A on tiny, docker-twin against docker-baseline, two arms of one definition: nothing is shown between them"
    )
    assert said.endswith("docker-baseline lowers throughput on tiny, by 1.5 % against native-chroot.")
    assert "casts doubt" in wording.headline([twin | {"verdict": "different"}])
    assert len(wording.sentences([ROW, twin])) == 1


def test_a_screen_is_neither_a_result_nor_pooled_with_one():
    option = ROW | {
        "phase": "screening",
        "kind": "screen",
        "reference": "docker-baseline",
        "treatment": "docker-shm-32g",
    }
    assert wording.headline([option]).startswith("Screening only")
    assert words.verdict_word(option) == "passes screen"
    validated = ROW | {"phase": "validation", "kind": "three_arm", "pct": -0.6, "pct_low": -0.9, "pct_high": -0.3}
    beside = ROW | {"phase": "screening", "kind": "screen_base", "pct": -2.9, "pct_low": -3.3, "pct_high": -2.5}
    assert wording.headline([option, beside, validated]) == wording.headline([validated])
    assert "by 0.60 %" in wording.headline([validated])


def test_several_arms_are_grouped_by_what_is_known_of_them():
    rows = [ROW, INCONCLUSIVE | {"treatment": "docker-shm-32g"}, INCONCLUSIVE | {"treatment": "docker-ipc-private"}]
    assert wording.headline(rows) == (
        "Throughput against native-chroot: lower on every model under docker-baseline; "
        "cannot be told at this N under docker-shm-32g and docker-ipc-private."
    )
    assert len(wording.sentences(rows)) == 3


def test_an_arm_that_is_equivalent_on_some_models_is_not_called_untold():
    equal = ROW | {
        "model": "one",
        "treatment": "docker-again",
        "verdict": "equivalent",
        "side": None,
        "margin_declared": True,
    }
    rows = [ROW, equal, equal | {"model": "two"} | INCONCLUSIVE_LIMITS | {"verdict": "inconclusive"}]
    assert "on 1 of 2 models (the others cannot be told) under docker-again" in wording.headline(rows)


def test_each_arm_is_held_against_the_arm_that_it_was_compared_with():
    option = ROW | {
        "reference": "docker-baseline",
        "pct": 1.2,
        "effect": 1.2,
        "pct_low": 0.8,
        "pct_high": 1.6,
        "side": "better",
    }
    rows = [
        option | {"treatment": "docker-shm-32g"},
        ROW,
        option | {"treatment": "docker-cpuset"} | INCONCLUSIVE_LIMITS,
    ]
    assert wording.headline(rows) == (
        "docker-baseline lowers throughput on tiny, by 1.5 % against native-chroot. "
        "Throughput against docker-baseline: higher on every model under docker-shm-32g; "
        "cannot be told at this N under docker-cpuset."
    )
    assert [len(group) for group in wording.by_contrast(rows)] == [1, 1, 1]
    assert wording.by_contrast(rows)[0][0]["reference"] == "native-chroot"


@given(st.floats(-50, 50), st.floats(0.001, 50))
def test_a_printed_interval_keeps_the_signs_of_its_limits(low, width):
    row = ROW | {"pct_low": low, "pct_high": low + width, "pct": low + width / 2}
    first, second = wording.interval(row).replace("−", "-").removesuffix(" %").split(" to ")
    for printed, limit in ((first, low), (second, low + width)):
        assert float(printed) == pytest.approx(limit, abs=0.51 * max(1.0, width))
        if abs(limit) >= 1e-4:
            assert (float(printed) > 0) == (limit > 0)


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (33.2971, 0.1743, "33.30 ± 0.17"),
        (3740.9, 63.2, "3 741 ± 63"),
        (0.25, 0.0, "0.25"),
        (12345.678, None, "12 346"),
        (None, None, "–"),
    ],
)
def test_a_mean_is_printed_to_the_second_digit_of_its_spread(mean, sd, text):
    assert wording.mean_sd(mean, sd).replace("\u202f", " ") == text


def test_a_small_memory_is_told_in_mib():
    memory = {
        "unit_of_measure": "GiB",
        "mean_reference": 0.0625,
        "sd_reference": None,
        "mean_treatment": 0.05,
        "sd_treatment": 0.001,
    }
    small = wording.readable(ROW | memory)
    assert (small["unit_of_measure"], small["mean_reference"], small["sd_reference"]) == ("MiB", 64.0, None)
    assert small["sd_treatment"] == pytest.approx(1.024)
    assert wording.readable(ROW | memory | {"mean_treatment": 12.0})["unit_of_measure"] == "GiB"
