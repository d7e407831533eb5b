"""A verdict rests on evidence: each defect alone rejects, and what a unit cannot show never does."""

from typing import Any

import pytest

from actors.types import Evidence, Exit, Gate, GateRecord, KernelEvent, Metric, Report, TelemetrySummary
from campaign.analysis.metrics import primary
from campaign.config.schema import Acceptance
from campaign.run.acceptance import judge

GATE = Gate(cooldown_s=1, ceiling_c=45)


def good(**changes) -> Evidence:
    metrics = tuple(Metric(name=name, value=1.0, unit_of_measure="x", source="engine") for name in primary())
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
    parts: dict[str, Any] = {}
    for key, value in changes.items():
        part, _, field = key.partition("__")
        if field:
            parts[part] = parts.get(part, getattr(evidence, part)).model_copy(update={field: value})
        else:
            parts[part] = value
    return evidence.model_copy(update=parts)


def verdict(evidence, canary_best_gb_s=None, **limits):
    return judge(evidence, GATE, Acceptance(**limits), model_identity="m", canary_best_gb_s=canary_best_gb_s)


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


WARM = {"telemetry__duration_s": 1000.0, "telemetry__throttle_reasons": 0x20}


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({"telemetry__throttled_us": {"sw_therm_slowdown": 9_000_000}}, True),
        ({"telemetry__throttled_us": {"sw_therm_slowdown": 11_000_000}}, False),
        ({"telemetry__throttled_us": {"sw_therm_slowdown": 9_000_000, "hw_therm_slowdown": 1}}, False),
        ({"telemetry__throttled_us": {}}, False),  # seen in a sample, and no counter tells for how long
    ],
)
def test_a_mild_slowdown_is_tolerated_up_to_its_share_of_the_run(changes, accepted):
    evidence = good(**WARM, **changes)
    assert not verdict(evidence).accepted
    assert verdict(evidence, sw_thermal_max_pct=1.0).accepted is accepted


def sung(before: float | None, after: float | None) -> Evidence:
    values = {"canary_before_gb_s": before, "canary_after_gb_s": after}
    metrics = (
        Metric(name=name, value=value, unit_of_measure="GB/s", source="canary", reason=None if value else "no driver")
        for name, value in values.items()
    )
    return good(metrics=tuple(metrics))


@pytest.mark.parametrize(
    ("before", "after", "best", "accepted"),
    [
        (200.0, 198.0, None, True),
        (200.0, 198.0, 210.0, True),
        (200.0, 60.0, None, False),  # it became slow while it ran
        (60.0, 61.0, 210.0, False),  # it was slow before and after
        (60.0, 61.0, None, True),  # nothing yet to hold it against
        (None, 198.0, 210.0, True),
    ],
)
def test_a_slow_canary_rejects_against_the_best_of_its_unit(before, after, best, accepted):
    judged = verdict(sung(before, after), canary_best_gb_s=best)
    assert judged.accepted is accepted
    assert judged.rejected_by == (() if accepted else ("canary",))


def test_a_canary_that_cannot_sing_does_not_reject():
    judged = verdict(sung(None, None))
    assert judged.accepted
    assert next(check for check in judged.checks if check.check == "canary").reason == "no driver"


POWER = Metric(name="power_mean_w", value=30.0, unit_of_measure="W", source="telemetry")


@pytest.mark.parametrize(
    ("kind", "gpu", "accepted"),
    [
        ("xid", True, False),
        ("oom_kill", False, False),
        ("gpu_lost", True, False),
        ("thermal", True, False),
        ("thermal", False, True),
        ("crash", True, True),
        ("pcie_corrected", True, True),
    ],
)
def test_the_kernels_word_on_gpu_memory_and_heat_counts(kind, gpu, accepted):
    event = KernelEvent(kind=kind, text="NVRM: something", what="in words")
    judged = verdict(good(kernel=(event,), metrics=(POWER,) if gpu else ()))
    assert judged.accepted is accepted
    assert judged.rejected_by == (() if accepted else ("kernel_log",))
    if not accepted:
        check = next(check for check in judged.checks if check.check == "kernel_log")
        assert check.figure == f"{kind}: in words"


def test_a_log_that_cannot_be_read_claims_nothing():
    check = next(
        check for check in verdict(good(kernel_unavailable="no permission")).checks if check.check == "kernel_log"
    )
    assert (check.passed, check.reason) == (None, "no permission")


def test_what_was_read_of_a_log_counts_though_some_of_it_was_lost():
    event = KernelEvent(kind="xid", text="NVRM: Xid", what="in words")
    judged = verdict(good(kernel=(event,), kernel_unavailable="overwritten"))
    assert judged.rejected_by == ("kernel_log",)


@pytest.mark.parametrize(("start_c", "cold"), [(44.0, True), (45.0, False), (46.0, False)])
def test_gate_and_verdict_have_one_rule_for_cold_enough(start_c, cold):
    """At 45 °C exactly the gate opened and the verdict rejected, three times, and gave the run up."""
    import threading

    from actors.gpu.gate import Clock, Reading, wait

    now = [1000 * 10**9]

    def later(event, seconds):
        now[0] += max(1, round(seconds * 10**9))
        return False

    gate = Gate(cooldown_s=0, ceiling_c=45, dwell_s=0, cache="keep", timeout_s=5, on_timeout="pause")
    record = wait(
        gate,
        lambda: Reading(t_mono_ns=now[0], gpu_temperature_c=start_c, mem_available_gib=1.0),
        rest_since_ns=None,
        reference_gib=None,
        files=(),
        stop=threading.Event(),
        clock=Clock(lambda: now[0], later),
    )
    assert record.opened is cold
    opened = GateRecord(opened=True, waited_s=0.0, rest_s=None, temperature_c=start_c)
    assert judge(good(gate=opened), gate, Acceptance(), model_identity="m").accepted is cold


@pytest.mark.parametrize(("paused_s", "accepted"), [(None, True), (0.0, True), (0.5, False)])
def test_an_engine_that_stood_still_measured_the_pause(paused_s, accepted):
    judged = verdict(good(paused_s=paused_s))
    assert judged.rejected_by == (() if accepted else ("not_paused",))


def test_one_failure_in_a_hundred_is_one_in_a_hundred():
    """1 - 99/100 is more than 0.01 in floats; failures are counted."""
    evidence = good(
        report__requests_expected=100,
        report__requests_answered=99,
        report__tokens_expected=500,
        report__tokens_generated=495,
    )
    assert verdict(evidence, error_rate_max=0.01).accepted
    assert not verdict(good(report__requests_answered=11)).accepted, "more answers than requests"
