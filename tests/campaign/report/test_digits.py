"""Every figure is printed to the digit that its error leaves certain."""

from campaign.report import digits


def test_a_mean_is_printed_to_its_standard_errors_second_digit():
    assert digits.places_of(0.0273) == 3
    assert digits.places_of(0.0999) == 2  # 0.10
    assert digits.places_of(27.3) == 0
    row = {"mean_reference": 100.04567, "sd_reference": 0.4, "n_reference": 30}
    assert digits.mean_text(row, "reference") == "100.046"
