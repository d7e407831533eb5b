"""The record of an attempt has one declaration: what is written, what is read again and what SQL reads are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest
from pydantic import ValidationError

from actors.types import Evidence, Exit, Metric, Report, TelemetrySummary
from campaign.analysis import views
from campaign.record.attempt import AttemptRecord, Check, kept_of, structure
from tests import synthetic

TELEMETRY = TelemetrySummary(
    samples_expected=2, samples=2, coverage_pct=100.0, jitter_p50_ms=0.1, jitter_p99_ms=0.2, longest_gap_ms=101.0,
    sampler_cpu_pct=0.3, throttled_us={"sw_therm_slowdown": 3},
)  # fmt: skip
POWER = Metric(name="power_mean_w", value=41.5, unit_of_measure="W", source="telemetry")


def record() -> AttemptRecord:
    evidence = Evidence(
        run_id="m__native__w__r01", attempt=2, unit="u", outcome="completed", exit=Exit(code=0), metrics=(POWER,),
        report=Report(model_identity="m", requests_expected=3, requests_answered=3, metrics=(POWER,)),
        telemetry=TELEMETRY.model_copy(update={"metrics": (POWER,)}), started_utc_ns=5, ended_utc_ns=9,
        files={"stdout.log": b"said"},
    )  # fmt: skip
    verdict = (Check("outcome", True, "completed", "completed"), Check("throttling", None, "unknown", "none", "no GPU"))
    return AttemptRecord(
        **kept_of(evidence), campaign_id="c", phase="baseline", model="m", environment="native", workload="w",
        engine="e", repetition=1, block="m__w__r01", position=0, accepted=True, verdict=verdict,
            files={"stdout.log": "ab"},
    )  # fmt: skip


def test_what_is_written_is_read_again_with_every_figure_told_once() -> None:
    written = record().to_json()
    assert "metrics" not in written["report"] and "metrics" not in written["telemetry"]
    again = AttemptRecord.read(json.dumps(written))
    assert again.to_json() == written
    assert (again.value("power_mean_w"), again.value("energy_j"), again.rejected_by) == (41.5, None, [])


def test_the_evidence_comes_back_with_what_a_verdict_looks_at() -> None:
    evidence = AttemptRecord.read(json.dumps(record().to_json())).evidence()
    assert evidence.report.metrics == evidence.metrics == (POWER,)
    assert evidence.telemetry == TELEMETRY
    assert (evidence.exit, evidence.files, evidence.attempt) == (Exit(code=0), {}, 2)


@pytest.mark.parametrize("wrong", ["{}", "[]", "nothing", '{"run_id": 3}'])
def test_what_is_no_record_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        AttemptRecord.read(wrong)


def test_a_key_of_another_version_is_left_unread() -> None:
    assert AttemptRecord.read(json.dumps(record().to_json() | {"of_tomorrow": 1})) == AttemptRecord.read(
        json.dumps(record().to_json())
    )


def test_sql_reads_the_structure_that_the_class_declares() -> None:
    (told,) = re.findall(r"from_json\(facts, '(\{.*?\})'\)", views.definition("metadata"), re.S)
    assert json.loads(told) == structure()
    found = duckdb.execute(f"SELECT unnest(from_json($1, '{told}'))", [json.dumps(record().to_json())]).df()
    assert list(found.columns) == list(AttemptRecord.model_fields)
    row = found.iloc[0]
    assert (row["attempt"], row["telemetry"]["coverage_pct"], row["verdict"][1]["reason"]) == (2, 100.0, "no GPU")


def test_the_folders_that_tests_make_hold_such_records(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "made", repetitions=2, telemetry_hz=0)
    for path in folder.glob("attempts/*/*/metadata.json"):
        assert AttemptRecord.read(path.read_bytes()).run_id == path.parent.parent.name
