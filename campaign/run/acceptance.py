"""The verdict on an attempt: accepted or rejected, as a list of named checks with their figures.

Every check is technical and looks at no result that the study compares, so that exclusion cannot favour an arm. A check
that this unit cannot make (no temperature sensor, no GPU) passes as ``None`` with the reason; it never rejects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from actors import heat
from actors.gpu.gate import cold_enough
from actors.types import Evidence, Gate, GateRecord, Report, TelemetrySummary
from campaign.analysis import metrics
from campaign.record.attempt import Check

if TYPE_CHECKING:
    from campaign.config.schema import Acceptance

SW_THERMAL = "sw_therm_slowdown"

CANARIES = ("canary_before_gb_s", "canary_after_gb_s")

THROTTLE_COUNTERS = ("sw_therm", "hw_therm", "hw_power_brake")
"""Beginnings of the cumulative counters' names that reject when they grew."""


KERNEL = frozenset({"xid", "gpu_lost", "gpu_driver", "oom_kill", "memory_error", "pcie"})
"""Kinds of kernel messages that reject; ``thermal`` does on a unit with a GPU, whose chip it heats.
The others are told."""


@dataclass(frozen=True)
class Verdict:
    accepted: bool
    checks: tuple[Check, ...]

    @property
    def rejected_by(self) -> tuple[str, ...]:
        return tuple(check.check for check in self.checks if check.passed is False)


def judge(
    evidence: Evidence,
    gate: Gate,
    rules: Acceptance,
    *,
    model_identity: str,
    canary_best_gb_s: float | None = None,
) -> Verdict:
    """The verdict on ``evidence`` by the campaign's ``rules``: what the driver gives, and what ``campaign verify``
    computes again. ``gate`` and ``model_identity`` are what was ordered; ``canary_best_gb_s`` the best that the unit's
    canary gave in the attempts before."""
    checks = (
        *_of_process(evidence),
        *_of_report(evidence.report, rules, model_identity),
        *_of_gate(evidence.gate, gate),
        *_of_telemetry(evidence.telemetry, gate, rules),
        *_canary(evidence, rules.canary_min_pct, canary_best_gb_s),
        *_paused(evidence),
        *_kernel(evidence),
        *_coherence(evidence),
    )
    return Verdict(all(check.passed is not False for check in checks), checks)


def _throttling(telemetry: TelemetrySummary, sw_thermal_max_pct: float) -> Check:
    """Sampled reasons and the growth of the cumulative counters, which see what lies between two samples."""
    if telemetry.throttle_reasons is None and not telemetry.throttled_us:
        return Check("throttling", None, "unknown", "none", "this unit reports no throttle reasons")
    mask = (telemetry.throttle_reasons or 0) & heat.THROTTLING
    grown = {name: us for name, us in telemetry.throttled_us.items() if us > 0 and name.startswith(THROTTLE_COUNTERS)}
    figure = ", ".join(f"{name} +{us} µs" for name, us in grown.items()) or f"mask {mask:#x}"
    limit = "no thermal or power-brake reason"
    if sw_thermal_max_pct and telemetry.duration_s and SW_THERMAL in telemetry.throttled_us:
        limit += f", SW thermal at most {sw_thermal_max_pct:g} % of the run"
        if grown.get(SW_THERMAL, 0) / 1e6 <= sw_thermal_max_pct / 100 * telemetry.duration_s:
            grown.pop(SW_THERMAL, None)
            mask &= ~heat.SW_THERMAL
    return Check("throttling", not mask and not grown, figure, limit)


def _paused(evidence: Evidence) -> Iterator[Check]:
    """An engine that was stopped, or slept with its machine, measured the pause."""
    if evidence.paused_s is not None:
        yield Check("not_paused", evidence.paused_s == 0, f"{evidence.paused_s:.1f} s", "never stopped or suspended")


def _coherence(evidence: Evidence) -> Iterator[Check]:
    """Answers of the shakedown: garbage is served as fast as sense."""
    found = evidence.coherence
    if found is None:
        return
    if not found.checked:
        yield Check("coherence", None, "not checked", "answers that make sense", found.why)
    else:
        yield Check("coherence", found.why is None, found.why or "coherent", "answers that make sense")


def _kernel(evidence: Evidence) -> Iterator[Check]:
    """Messages of the kernel during the attempt; no check where it never started."""
    if evidence.gate is None or not evidence.gate.opened:
        return
    limit = "no Xid, OOM kill or thermal event"
    gpu = any(metric.name == "power_mean_w" and metric.value is not None for metric in evidence.metrics)
    bad = [event for event in evidence.kernel if event.kind in KERNEL or (gpu and event.kind == "thermal")]
    if not bad and evidence.kernel_unavailable is not None:
        yield Check("kernel_log", None, "not read", limit, evidence.kernel_unavailable)
        return
    figure = "; ".join(f"{event.kind}: {event.what or event.text}"[:200] for event in bad[:3])
    yield Check("kernel_log", not bad, figure or "nothing", limit)


def canaries(evidence: Evidence) -> list[float]:
    """What the canary gave before and after the attempt, GB/s; empty where it was not asked or could not sing."""
    return [metric.value for metric in evidence.metrics if metric.name in CANARIES and metric.value is not None]


def _canary(evidence: Evidence, min_pct: float, best_gb_s: float | None) -> Iterator[Check]:
    """A unit in a hidden slow state: its probe falls far below what it gave before, and no flag shows it."""
    asked = {metric.name: metric for metric in evidence.metrics if metric.name in CANARIES}
    if not asked:
        return
    sung = canaries(evidence)
    if not sung:
        yield Check(
            "canary", None, "silent", f"at least {min_pct:g} % of the unit's best", next(iter(asked.values())).reason
        )
        return
    best = max(best_gb_s or 0.0, *sung)
    yield Check(
        "canary",
        min(sung) >= min_pct / 100 * best,
        f"{min(sung):.4g} GB/s",
        f"at least {min_pct:g} % of the unit's best, {best:.4g} GB/s",
    )


def _of_process(evidence: Evidence) -> Iterator[Check]:
    yield Check("outcome", evidence.outcome == "completed", evidence.outcome, "completed", evidence.failure)
    code = evidence.exit.code if evidence.exit else None
    yield Check("exit_code", code == 0, str(code), "0")
    failure = evidence.report.failure
    yield Check("report", failure is None, failure or "parsed", "parsed")


def _of_report(report: Report, rules: Acceptance, identity: str) -> Iterator[Check]:
    """Everything asked was answered, by the model that was asked, and the primary metrics are there and finite, unless
    the engine says why not."""
    expected, answered, error_rate_max = report.requests_expected, report.requests_answered, rules.error_rate_max
    yield Check(
        "requests_answered",
        expected > 0 and 0 <= expected - answered <= error_rate_max * expected + 1e-9,
        f"{answered} of {expected}",
        f"error rate at most {error_rate_max:g}",
    )
    if report.tokens_expected is None:
        yield Check("tokens_generated", None, "not told", "as asked", "the engine does not report token counts")
    else:
        yield Check(
            "tokens_generated",
            report.tokens_generated == report.tokens_expected
            if error_rate_max == 0
            else (report.tokens_generated or 0) >= report.tokens_expected * (1 - error_rate_max),
            str(report.tokens_generated),
            str(report.tokens_expected),
        )
    yield Check("model_identity", report.model_identity == identity, str(report.model_identity), identity)

    values = {metric.name: metric for metric in report.metrics}
    missing = [
        name
        for name in metrics.primary()
        if name not in values
        or (values[name].value is None and not values[name].reason)
        or not isfinite(values[name].value or 0.0)
    ]
    yield Check("primary_metrics", not missing, ", ".join(missing) or "all", "present and finite")


def _of_gate(opened: GateRecord | None, gate: Gate) -> Iterator[Check]:
    if opened is None:
        yield Check("gate", False, "never opened", "open")
    else:
        yield Check(
            "gate", opened.opened, "flagged" if opened.flagged else "opened" if opened.opened else "closed", "open"
        )
        if gate.ceiling_c is None:
            yield Check("start_temperature", None, f"{opened.temperature_c} °C", "none", "the campaign sets no ceiling")
        elif opened.temperature_c is None:
            yield Check(
                "start_temperature", None, "unknown", f"< {gate.ceiling_c:g} °C", "this unit has no temperature sensor"
            )
        else:
            cold = cold_enough(opened.temperature_c, gate) or opened.flagged
            yield Check("start_temperature", cold, f"{opened.temperature_c:g} °C", f"< {gate.ceiling_c:g} °C")


def _of_telemetry(telemetry: TelemetrySummary | None, gate: Gate, rules: Acceptance) -> Iterator[Check]:
    """The sampler was there, and what it saw neither throttled the run nor shared its GPU."""
    coverage_min_pct = rules.coverage_min_pct
    if telemetry is None:
        yield Check("telemetry_coverage", False, "no telemetry", f"at least {coverage_min_pct:g} %")
        return
    yield Check(
        "telemetry_coverage",
        telemetry.coverage_pct >= coverage_min_pct,
        f"{telemetry.coverage_pct:.1f} %",
        f"at least {coverage_min_pct:g} %",
    )
    yield _throttling(telemetry, rules.sw_thermal_max_pct)
    if gate.foreign_gpu_processes == "allow":
        yield Check(
            "foreign_gpu_processes", None, str(len(telemetry.foreign_gpu_pids)), "any", "allowed by the campaign"
        )
    else:
        pids = telemetry.foreign_gpu_pids
        yield Check("foreign_gpu_processes", not pids, ", ".join(map(str, pids)) or "none", "none")
