"""Every figure is printed to the digit that its error leaves certain, and to the same one wherever it stands."""

import pytest

from campaign.analysis.numbers import decimals, effect_places, places_of
from campaign.report import numbers, wording


def test_a_mean_is_printed_to_its_deviations_second_digit_in_every_medium():
    assert places_of(0.0273) == 3
    assert places_of(0.0999) == 2  # 0.10
    assert places_of(27.3) == 0
    row = {"mean_reference": 100.04567, "sd_reference": 0.4, "n_reference": 30}
    assert numbers.mean_text(row, "reference") == "100.05"
    assert numbers.sd_text(row, "reference") == "0.40"
    assert wording.mean_sd(100.04567, 0.4) == "100.05 ± 0.40"
    assert wording.mean_sd(3.21987, 0.0996) == "3.22 ± 0.10"


@pytest.mark.parametrize(
    ("pct", "low", "high"), [(-1.534, -2.13, -0.94), (0.021, -0.18, 0.2211), (104.4, 88.8, 121.0), (0.3, None, None)]
)
def test_a_change_has_the_digits_of_its_interval_on_the_page_and_in_the_table(pct, low, high):
    row = {"pct": pct, "pct_low": low, "pct_high": high, "scale": "ratio"}
    on_the_page = wording.change(row).removesuffix(" %").replace("−", "-")
    assert float(on_the_page) == float(numbers.change_text(row))
    assert len(on_the_page.lstrip("+-").partition(".")[2]) == numbers.pct_places(row)
    if low is not None:
        assert numbers.pct_places(row) == decimals(low, high) == effect_places(pct, low, high)
