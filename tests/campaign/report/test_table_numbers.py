"""Every figure is printed to the digit that its error leaves certain."""

from campaign.report import numbers


def test_a_mean_is_printed_to_its_standard_errors_second_digit():
    assert numbers.places_of(0.0273) == 3
    assert numbers.places_of(0.0999) == 2  # 0.10
    assert numbers.places_of(27.3) == 0
    row = {"mean_reference": 100.04567, "sd_reference": 0.4, "n_reference": 30}
    assert numbers.mean_text(row, "reference") == "100.046"
