"""A verdict rests on evidence: each defect alone rejects, and what a unit cannot show never does."""

import pytest

from actors.types import Evidence, Exit, Gate, GateRecord, Metric, Report, TelemetrySummary
from campaign.acceptance import PRIMARY, judge

GATE = Gate(cooldown_s=1, ceiling_c=45)


def good(**changes) -> Evidence:
    metrics = tuple(Metric(name=name, value=1.0, unit_of_measure="x", source="engine") for name in PRIMARY)
    report = Report(
        metrics=metrics,
        model_identity="m",
        requests_expected=10,
        requests_answered=10,
        tokens_expected=50,
        tokens_generated=50,
    )
    telemetry = TelemetrySummary(
        samples_expected=100,
        samples=100,
        coverage_pct=100.0,
        jitter_p50_ms=0.1,
        jitter_p99_ms=1.0,
        longest_gap_ms=101.0,
        sampler_cpu_pct=0.5,
        throttle_reasons=0,
    )
    gate = GateRecord(opened=True, waited_s=1.0, rest_s=1.0, temperature_c=40.0)
    evidence = Evidence(
        run_id="r",
        attempt=1,
        unit="u",
        outcome="completed",
        exit=Exit(code=0),
        report=report,
        gate=gate,
        telemetry=telemetry,
    )
    parts = {}
    for key, value in changes.items():
        part, _, field = key.partition("__")
        if field:
            parts[part] = parts.get(part, getattr(evidence, part)).model_copy(update={field: value})
        else:
            parts[part] = value
    return evidence.model_copy(update=parts)


def verdict(evidence, **limits):
    return judge(evidence, GATE, model_identity="m", **limits)


def test_good_evidence_is_accepted():
    assert verdict(good()).accepted


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"outcome": "timeout"}, "outcome"),
        ({"exit__code": 1}, "exit_code"),
        ({"exit": None}, "exit_code"),
        ({"report__failure": "report_missing"}, "report"),
        ({"report__requests_answered": 9}, "requests_answered"),
        ({"report__requests_expected": 0}, "requests_answered"),
        ({"report__tokens_generated": 49}, "tokens_generated"),
        ({"report__model_identity": "another"}, "model_identity"),
        ({"report__model_identity": None}, "model_identity"),
        ({"report__metrics": ()}, "primary_metrics"),
        ({"gate": None}, "gate"),
        ({"gate__opened": False}, "gate"),
        ({"gate__temperature_c": 45.0}, "start_temperature"),
        ({"telemetry": None}, "telemetry_coverage"),
        ({"telemetry__coverage_pct": 94.9}, "telemetry_coverage"),
        ({"telemetry__throttle_reasons": 0x40}, "throttling"),
        ({"telemetry__throttled_us": {"hw_therm_slowdown": 5}}, "throttling"),
        ({"telemetry__foreign_gpu_pids": (77,)}, "foreign_gpu_processes"),
    ],
)
def test_each_defect_alone_rejects_and_is_named(changes, check):
    judged = verdict(good(**changes))
    assert not judged.accepted
    assert check in judged.rejected_by


@pytest.mark.parametrize(
    "changes",
    [
        {"gate__temperature_c": None},
        {"telemetry__throttle_reasons": None},
        {"telemetry__throttle_reasons": 0x4},  # a software power cap is not thermal
        {"report__tokens_expected": None},
    ],
)
def test_what_a_unit_cannot_show_does_not_reject(changes):
    assert verdict(good(**changes)).accepted


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_primary_metric_without_a_value_needs_a_reason(value):
    metrics = good().report.metrics
    broken = (metrics[0].model_copy(update={"value": value}), *metrics[1:])
    judged = verdict(good(report__metrics=broken))
    assert judged.rejected_by == ("primary_metrics",)
    explained = (metrics[0].model_copy(update={"value": None, "reason": "not in this report"}), *metrics[1:])
    assert verdict(good(report__metrics=explained)).accepted


def test_an_error_rate_may_be_allowed():
    evidence = good(report__requests_answered=9, report__tokens_generated=45)
    assert verdict(evidence, error_rate_max=0.1).accepted
    assert not verdict(evidence, error_rate_max=0.05).accepted
