"""What a metric's name means stands in ``metric_facts`` and nowhere else."""

from __future__ import annotations

import pytest

from actors.telemetry.window import Window, metrics_of
from actors.types import TelemetrySummary
from campaign.analysis import metrics, views
from campaign.reading.units import of_metric
from tests import synthetic


def test_the_first_of_the_summary_is_what_a_campaign_is_about() -> None:
    assert metrics.headline() == "token_throughput_tok_s"
    assert metrics.headline() in metrics.confirmatory()
    assert list(metrics.summary().values())[:2] == ["throughput", "latency"]
    assert set(metrics.summary()) <= {name for name, fact in metrics.known().items() if fact.label}


def test_primary_metrics_are_confirmatory_or_derived_and_no_other_metric_is() -> None:
    roles = {name: fact.role for name, fact in metrics.known().items() if fact.label is not None}
    assert {name for name, role in roles.items() if role != "secondary"} == set(metrics.primary())
    assert set(metrics.confirmatory()) == {"token_throughput_tok_s", "latency_mean_ms", "peak_memory_gib"}


def test_an_alias_has_direction_and_role_and_neither_words_nor_unit() -> None:
    alias = metrics.known()["peak_memory_gb"]
    assert (alias.better, alias.role) == ("lower", "confirmatory")
    assert (alias.label, alias.unit_of_measure) == (None, None), "GB is not the GiB of peak_memory_gib"


def test_a_title_has_words_and_unit_in_one_pair_of_brackets() -> None:
    assert metrics.titled("power_mean_w") == "mean power (W)"
    assert metrics.titled("peak_memory_gib") == "peak memory (engine, GiB)"


@pytest.mark.parametrize("metric", [name for name, fact in metrics.known().items() if fact.label is not None])
def test_the_unit_that_is_declared_is_the_one_at_the_end_of_the_name(metric: str) -> None:
    if metric not in (
        "energy_per_output_token_j",
        "output_tokens_per_joule",
        "output_tokens_per_cpu_s",
        "first_token_s",
    ):  # the ending says less
        assert metrics.known()[metric].unit_of_measure == of_metric(metric).name


def test_what_telemetry_measures_has_the_declared_units() -> None:
    nothing = dict.fromkeys(("jitter_p50_ms", "jitter_p99_ms", "longest_gap_ms", "sampler_cpu_pct"))
    summary = TelemetrySummary(samples_expected=0, samples=0, coverage_pct=100.0, **nothing)
    units = {metric.name: metric.unit_of_measure for metric in metrics_of(Window(0), summary, {})}
    assert units == {name: metrics.known()[name].unit_of_measure for name in units}


def test_what_a_folder_holds_has_the_declared_units(tmp_path) -> None:
    con = views.connect(synthetic.write(tmp_path / "made", repetitions=2, telemetry_hz=0))
    other = con.execute(
        "SELECT DISTINCT metric, unit_of_measure, measured_in FROM metrics JOIN metric_facts USING (metric) "
        "WHERE unit_of_measure <> measured_in"
    )
    assert other.fetchall() == []
