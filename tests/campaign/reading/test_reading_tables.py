"""A table of runs is understood as its writer meant it, or something is asked;
what was done with every column and row is told."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from campaign.reading import Asked, Reading, TableError, asked, read
from campaign.reading.describe import describe
from campaign.reading.reference import reference_arm

METRIC = "token_throughput_tok_s"


def runs(n: int = 12, **columns: Any) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "repetition": [i // 2 + 1 for i in range(n)],
            "model": "org/m-7b",
            "environment": ["native", "docker"] * (n // 2),
            METRIC: [100.5 + i / 8 for i in range(n)],
        }
    )
    return table.assign(**columns)


def understood(
    tmp_path: Path, table: pd.DataFrame | str | bytes, everything: bool = False, name: str = "runs.csv", **words: Any
) -> Reading:
    file = tmp_path / name
    if isinstance(table, pd.DataFrame):
        table.to_csv(file, index=False)
    else:
        file.write_bytes(table if isinstance(table, bytes) else table.encode())
    return read([file], asked(**words), everything=everything)


def fate(reading: Reading, column: str) -> str:
    found = next(fate for fate in reading.fates if fate.column == column)
    return f"{found.role}: {found.name}, {found.unit}, {found.said}"


# --- containers (K16) -------------------------------------------------------------------------------------------


def german(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, sep=";", decimal=",")


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.to_csv(index=False).encode(),
        lambda t: t.to_csv(index=False).encode("utf-8-sig"),
        lambda t: t.to_csv(index=False, sep="\t").encode("utf-16"),
        lambda t: t.to_csv(index=False, sep="\t").encode("utf-16-le"),
        lambda t: t.to_csv(index=False, sep="|").encode(),
        lambda t: german(t).encode("cp1252"),
        lambda t: ("sep=;\r\n" + german(t).replace("\n", "\r\n")).encode(),
        lambda t: ("# from the lab\n\n" + t.to_csv(index=False)).encode(),
        lambda t: t.to_csv(index=False, quoting=1).encode(),
        lambda t: t.to_json(orient="records").encode(),
        lambda t: t.to_json(orient="records", lines=True).encode(),
        lambda t: t.to_json(orient="columns").encode(),
        lambda t: t.to_json(orient="index").encode(),
        lambda t: t.to_json(orient="split").encode(),
        lambda t: t.to_json(orient="table").encode(),
        lambda t: json.dumps({"study": {"name": "x", "runs": t.to_dict("records")}}).encode(),
        lambda t: json.dumps({name: list(map(str, cells)) for name, cells in t.to_dict("list").items()}).encode(),
        lambda t: ("| " + " | ".join(t) + " |\n|" + "---|" * len(t.columns) + "\n"
                   + "\n".join("| " + " | ".join(map(str, row)) + " |" for row in t.to_numpy())).encode(),
        lambda t: gzip.compress(t.to_csv(index=False).encode()),
        lambda t: bz2.compress(t.to_csv(index=False).encode()),
        lambda t: lzma.compress(t.to_csv(index=False).encode()),
    ],
)  # fmt: skip
def test_one_table_in_any_container_is_one_reading(tmp_path: Path, write: Any) -> None:
    reading = understood(tmp_path, write(runs()), name="whatever.dat")
    assert [run.values[METRIC] for run in reading.runs] == pytest.approx(list(runs()[METRIC]))
    assert [run.factors["environment"] for run in reading.runs] == ["native", "docker"] * 6
    assert [run.repetition for run in reading.runs] == list(runs()["repetition"])


@pytest.mark.parametrize("suffix", ["xlsx", "parquet"])
def test_typed_files_too(tmp_path: Path, suffix: str) -> None:
    table = runs(started=pd.date_range("2025-11-03", periods=12, freq="h"))
    file = tmp_path / f"runs.{suffix}"
    table.to_excel(file, index=False) if suffix == "xlsx" else table.to_parquet(file)
    reading = read([file], Asked(), everything=False)
    assert [run.values[METRIC] for run in reading.runs] == list(table[METRIC])
    assert reading.runs[0].started_ns == 1762128000 * 10**9
    assert [run.sequence_index for run in reading.runs] == list(range(1, 13))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04 broken", "zip file that cannot be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"\.xls"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"(\xb5/\xfd....", "unpack"),
        (b"\x00\x01\x02\x03" * 50, "binary file"),
        (b"model,environment\nm,\xff", "known as a metric"),
    ],
)
def test_other_files_are_named_with_what_to_do(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(TableError, match=says) as error:
        understood(tmp_path, data)
    assert "codec" not in str(error.value)


def test_a_sheet_among_several_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "runs.xlsx"
    with pd.ExcelWriter(file) as book:
        runs().to_excel(book, sheet_name="runs", index=False)
        runs().to_excel(book, sheet_name="more", index=False)
    with pytest.raises(TableError, match=r"several filled sheets \(runs, more\)"):
        read([file], Asked(), everything=False)


# --- units and metrics (K13, K14) -------------------------------------------------------------------------------


def test_units_come_from_headers_names_cells_or_the_person_and_are_converted(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"Latency (s)": 1.25, "peak_vram_mib": 71680, "power": "250 W", "energy": 2.0}
    table = runs(**columns)
    reading = understood(tmp_path, table, units=["energy=Wh"])
    first = reading.runs[0].values
    assert first == pytest.approx(
        {METRIC: 100.5, "latency_mean_ms": 1250, "peak_memory_gib": 70, "power_mean_w": 250, "energy_j": 7200}
    )
    assert "times 1000 to ms" in fate(reading, "Latency (s)")


def test_what_has_no_certain_unit_is_left_out_with_the_question(tmp_path: Path) -> None:
    reading = understood(tmp_path, runs(latency=1.25, peak_memory=70123, Throughput=3.5, score=2.0))
    assert list(reading.metrics) == [METRIC]
    assert "seconds or milliseconds? Say --unit latency=" in fate(reading, "latency")
    assert "GiB, MiB, GB or bytes?" in fate(reading, "peak_memory")
    assert "--column Throughput=token_throughput_tok_s" in fate(reading, "Throughput")
    assert "--column score=METRIC" in fate(reading, "score")


@pytest.mark.parametrize("column", ["Throughput", "throughput (tok/s)", "tokens_per_second", "tps"])
def test_a_token_rate_that_may_count_prompts_is_asked_for_and_the_answer_taken(tmp_path: Path, column: str) -> None:
    table = runs().rename(columns={METRIC: column})
    with pytest.raises(TableError, match=r"which t.*token_throughput_tok_s"):
        understood(tmp_path, table)
    assert list(understood(tmp_path, table, columns=[f"{column}=total_token_throughput_tok_s"]).metrics) == [
        "total_token_throughput_tok_s"
    ]


@pytest.mark.parametrize(
    ("columns", "words", "says"),
    [
        ({"request_throughput": 5.0}, {"units": ["request_throughput=tok/s"]}, "request rate.*token rate"),
        ({"rate (tok/s)": 5.0}, {"columns": ["rate (tok/s)=request_throughput_req_s"]}, "token rate.*request rate"),
        ({"latency_ms": 5.0}, {"units": ["latency_ms=s"]}, "its name says ms and --unit says s"),
        ({"latency_ms": "5 s"}, {}, "its name says ms and its cells says s"),
        ({"latency_ms": 5.0}, {"units": ["latency_ms=parsec"]}, "not a unit"),
        ({"latency_ms": 5.0, "avg_latency_s": 1.0}, {}, "both latency_mean_ms and differ"),
        ({"latency_mean_ms": ["1,5"] + ["1.5"] * 11}, {}, "decimal point and .* decimal comma"),
        ({"latency_mean_ms": "1,234"}, {}, "'1,234' can be read as 1234 and as 1.234"),
        ({"latency_mean_ms": ["~5"] + ["5"] * 11}, {}, "'~5' in row 2 among numbers"),
        ({"latency_mean_ms": "fast"}, {}, "'fast' in row 2"),
    ],
)  # fmt: skip
def test_units_and_figures_that_contradict_are_refused(tmp_path: Path, columns: Any, words: Any, says: str) -> None:
    with pytest.raises(TableError, match=says):
        understood(tmp_path, runs(**columns), **words)


def test_a_point_beside_decimal_commas_is_asked_about(tmp_path: Path) -> None:
    table = (
        "model;environment;repetition;token_throughput_tok_s;latency_mean_ms\n"
        "m;native;1;100,5;1.234\nm;docker;1;100,7;1.235\n"
    )
    with pytest.raises(TableError, match=r"1.234.*elsewhere the comma stands before decimals \('100,5'\)"):
        understood(tmp_path, table)
    assert understood(tmp_path, table, decimal="comma").runs[0].values["latency_mean_ms"] == 1234


def test_a_failed_cell_fails_its_run_and_keeps_the_others(tmp_path: Path) -> None:
    reading = understood(tmp_path, runs(latency_mean_ms=[5.0, 5.0, 5.0, "OOM", *[5.0] * 8]))
    assert [run.ok for run in reading.runs].count(False) == 1
    assert reading.runs[3].failure == "OOM"
    assert reading.runs[3].reasons == {"latency_mean_ms": "OOM in the file"}
    assert any("row 5" in note and "'OOM'" in note for note in reading.notes)


def test_empty_cells_are_missing_with_a_reason_and_not_zero(tmp_path: Path) -> None:
    reading = understood(tmp_path, runs(latency_mean_ms=["", "n/a", "inf", *[5.0] * 9]))
    assert [run.reasons.get("latency_mean_ms") for run in reading.runs[:4]] == [
        "not in the file",
        "not in the file",
        "infinite in the file",
        None,
    ]


def test_analysis_keeps_every_figure_under_the_tables_own_name_and_unit(tmp_path: Path) -> None:
    reading = understood(tmp_path, runs(avg_latency_s=1.25, score=2.0, gpu_utilization_pct="96 %"), everything=True)
    assert reading.metrics == {METRIC: "tok/s", "avg_latency_s": "s", "score": "", "gpu_utilization_pct": "%"}
    assert reading.runs[0].values["avg_latency_s"] == 1.25


# --- arms (K17, K23) --------------------------------------------------------------------------------------------


def test_names_are_trimmed_and_two_spellings_are_asked_about(tmp_path: Path) -> None:
    reading = understood(tmp_path, runs(environment=["native ", "docker", " native", "docker\u00a0"] * 3))
    assert reading.arms == ["native", "docker"]
    for spelling in ("Native", "na tive", "NATIVE"):
        table = runs(environment=[spelling, "docker", "native", "docker"] * 3)
        if spelling == "na tive":
            assert set(understood(tmp_path, table).arms) == {"na tive", "native", "docker"}
        else:
            with pytest.raises(TableError, match="in several ways"):
                understood(tmp_path, table)


@pytest.mark.parametrize(
    ("arms", "asked_", "base"),
    [
        (["Docker", "Native"], None, "Native"), (["docker", "native-host"], None, "native-host"),
        (["docker", "native"], "docker", "docker"),
        (["docker", "native", "native-chroot"], None, "native"),
        (["docker", "native-host", "native-chroot"], None, None),
        (["docker", "podman"], None, None), (["docker", "bare-metal"], None, None),
        (["docker", "native"], "nativ", None),
    ],
)  # fmt: skip
def test_the_reference_is_plain_or_asked_for(arms: list[str], asked_: str | None, base: str | None) -> None:
    if base is None:
        with pytest.raises(TableError, match="reference"):
            reference_arm(arms, asked_)
    else:
        assert reference_arm(arms, asked_) == base


def test_what_no_column_says_is_given_once(tmp_path: Path) -> None:
    table = runs().drop(columns="model")
    with pytest.raises(TableError, match="constant: --set model="):
        understood(tmp_path, table)
    reading = understood(tmp_path, table, constants=["model=m-7b"])
    assert {run.factors["model"] for run in reading.runs} == {"m-7b"}
    with pytest.raises(TableError, match="--column environment=ignore"):
        understood(tmp_path, table, constants=["model=m", "environment=native"])


def test_files_of_one_arm_each_are_taken_together(tmp_path: Path) -> None:
    paths = []
    for arm in ("native", "docker"):
        path = tmp_path / f"{arm}.csv"
        part = runs()
        part[part["environment"] == arm].drop(columns="environment").to_csv(path, index=False)
        paths.append(path)
    reading = read(
        paths, asked(constants=["native*:environment=native", "docker*:environment=docker"]), everything=False
    )
    assert [run.factors["environment"] for run in reading.runs] == ["native"] * 6 + ["docker"] * 6
    assert reading.runs[6].place == "docker.csv, row 2"
    assert [
        run.factors["environment"] for run in read(paths, asked(columns=["file=environment"]), everything=False).runs
    ] == ["native"] * 6 + ["docker"] * 6
    with pytest.raises(TableError, match="no file is called so"):
        read(paths, asked(constants=["nativ.csv:environment=native"]), everything=False)


# --- status (K18) -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["pass", "Passed", "OK", "success", "SUCCEEDED ", "completed", "Done", "true", "yes", "1"]
)
def test_words_of_success(tmp_path: Path, word: str) -> None:
    assert all(run.ok for run in understood(tmp_path, runs(status=word)).runs)


@pytest.mark.parametrize(
    "word",
    ["failed", "OOM", "out of memory", "Timed out", "timeout", "skipped", "crashed", "false", "Error", "CANCELLED"],
)
def test_words_of_failure(tmp_path: Path, word: str) -> None:
    reading = understood(tmp_path, runs(status=[word] + ["ok"] * 11))
    assert not reading.runs[0].ok
    assert reading.runs[0].failure == word.strip()


@pytest.mark.parametrize(
    "words", [["meh"] + ["ok"] * 11, [""] + ["ok"] * 11, [0] + [1] * 11, ["running"] * 12, [200] * 12]
)
def test_a_word_that_is_not_known_is_asked_about_and_the_answer_taken(tmp_path: Path, words: list[Any]) -> None:
    with pytest.raises(TableError, match="did that run succeed"):
        understood(tmp_path, runs(status=words))
    answers = [f"{word}={'ok' if word in ('ok', 1, 200) else 'failed'}" for word in dict.fromkeys(words)]
    reading = understood(tmp_path, runs(status=words), statuses=answers)
    assert [run.ok for run in reading.runs] == [word in ("ok", 1, 200) for word in words]


def test_exit_codes_errors_and_flags_say_it_too(tmp_path: Path) -> None:
    assert [run.ok for run in understood(tmp_path, runs(exit_code=[0, 137, *[0] * 10])).runs].count(False) == 1
    assert [run.ok for run in understood(tmp_path, runs(error=["", "CUDA error", *[""] * 10])).runs].count(False) == 1
    assert [run.ok for run in understood(tmp_path, runs(success=[True, False, *[True] * 10])).runs].count(False) == 1
    assert all(run.ok for run in understood(tmp_path, runs(error=0.0)).runs)
    assert all(run.ok for run in understood(tmp_path, runs(result=[1.5 + i for i in range(12)]), everything=True).runs)


# --- conditions and retries (K19, K22) --------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["concurrency", "Batch Size", "input_len", "max_num_seqs", "quantization"])
def test_a_setting_that_differs_within_an_arm_makes_cells(tmp_path: Path, column: str) -> None:
    settings: list[dict[str, Any]] = [{column: value} for value in ("1", "2", "4")]
    table = pd.concat([runs(**its) for its in settings])
    reading = understood(tmp_path, table)
    assert len({(run.factors["environment"], run.factors["workload"]) for run in reading.runs}) == 6
    assert all(run.attempt == 1 for run in reading.runs)
    assert fate(reading, column).startswith("condition")


def test_a_setting_that_was_perhaps_measured_is_asked_about(tmp_path: Path) -> None:
    table = runs(request_rate=[4 + i / 10 for i in range(12)])
    with pytest.raises(TableError, match="was it set or measured"):
        understood(tmp_path, table)
    assert {run.factors["workload"] for run in understood(tmp_path, table, columns=["request_rate=ignore"]).runs} == {
        "unknown"
    }


def test_settings_are_never_compared_and_differences_between_arms_are_told(tmp_path: Path) -> None:
    table = runs(
        seed=range(12),
        port=8000,
        batch_size=[16, 8] * 6,
        timestamp=[1760000000 + 300 * i for i in range(12)],
        pid=range(12),
    )
    reading = understood(tmp_path, table, everything=True)
    assert list(reading.metrics) == [METRIC]
    assert reading.differs == {"batch_size": {"native": ["16"], "docker": ["8"]}}
    assert any("batch_size differs between the arms" in note for note in reading.notes)


@pytest.mark.parametrize("values", [["low", "low", "high", "high"], [1, 1, 2, 2], [True, True, False, False]])
def test_a_column_that_looks_like_a_condition_is_asked_about(tmp_path: Path, values: list[Any]) -> None:
    table = runs(effort=values * 3)
    with pytest.raises(TableError, match="--column effort=condition"):
        understood(tmp_path, table)
    kept = understood(tmp_path, table, columns=["effort=condition"])
    assert {run.factors["workload"] for run in kept.runs} == {f"effort={value}" for value in values}
    assert {run.factors["workload"] for run in understood(tmp_path, table, columns=["effort=ignore"]).runs} == {
        "unknown"
    }


def test_one_repetition_twice_is_a_retry_only_where_the_first_failed_or_a_column_says_so(tmp_path: Path) -> None:
    twice = pd.concat([runs(), runs().head(1)])
    with pytest.raises(TableError, match="row 2, row 14 have the same repetition 1"):
        understood(tmp_path, twice)
    with pytest.raises(TableError, match="they differ in 'level'"):
        understood(tmp_path, pd.concat([runs(level="a"), runs(level="b").head(1)]))
    analysed = understood(tmp_path, twice, everything=True)  # which refuses the cell, and analyses the others
    assert analysed.runs[-1].attempt == 1
    assert any("row 2, row 14" in note for note in analysed.notes)
    told = understood(tmp_path, pd.concat([runs(attempt=1), runs(attempt=2).head(1)]))
    assert told.runs[-1].attempt == 2
    again = understood(tmp_path, pd.concat([runs(status="failed").head(1), runs(status="ok")]))
    assert [(run.attempt, run.ok) for run in again.runs[:3]] == [(1, False), (2, True), (1, True)]
    with pytest.raises(TableError, match="attempt 1"):
        understood(tmp_path, pd.concat([runs(attempt=1), runs(attempt=1).head(1)]))


# --- order ------------------------------------------------------------------------------------------------------


def test_order_is_kept_as_recorded_and_unknown_where_times_tie(tmp_path: Path) -> None:
    recorded = understood(tmp_path, runs(sequence_index=[3 * i for i in range(12)]))
    assert [run.sequence_index for run in recorded.runs] == [3 * i for i in range(12)]
    placed = understood(tmp_path, runs(order_in_block=[1, 2, 2, 1] * 3))
    assert [run.sequence_index for run in placed.runs[:4]] == [4, 5, 8, 7]
    tied = understood(tmp_path, runs(date="2025-11-03"))
    assert {run.sequence_index for run in tied.runs} == {None}
    assert any("one and the same time" in note for note in tied.notes)


# --- mistakes of the person (K21) -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"columns": ["modle=model"]}, "no column 'modle'. Did you mean 'model'"),
        ({"columns": ["model=modell"]}, "Did you mean 'model'"),
        ({"columns": ["model"]}, "write NAME=MEANING"),
        ({"units": ["latencies=ms"]}, "no column 'latencies'"),
        ({"constants": ["enviroment=native"]}, "Did you mean 'environment'"),
        ({"constants": ["environment="]}, "write NAME=VALUE"),
        ({"statuses": ["meh=maybe"]}, "WORD=ok or WORD=failed"),
        ({"better": ["token_throughput=higher"]}, "Did you mean 'token_throughput_tok_s'"),
        ({"better": [f"{METRIC}=up"]}, "NAME=higher"),
        ({"decimal": "dot"}, "point or comma"),
        ({"dates": "american"}, "day-first or month-first"),
    ],
)
def test_a_mistake_in_an_option_is_told_with_what_is_near(tmp_path: Path, words: Any, says: str) -> None:
    with pytest.raises(TableError, match=says):
        understood(tmp_path, runs(), **words)


def test_every_column_and_row_has_a_fate_that_is_printed(tmp_path: Path) -> None:
    table = runs(latency=1.25, notes="x", colour="red").to_csv(index=False)
    header = table.splitlines()[0]
    reading = understood(tmp_path, table + header + "\n")
    assert {fate.column for fate in reading.fates} == set(header.split(","))
    assert (reading.rows_in, len(reading.runs), reading.left_out) == (13, 12, [("row 14", "the header once more")])
    said = "\n".join(describe(reading))
    for words in (
        "13 rows in, 12 runs out",
        "row 14: left out",
        "latency: left out",
        "colour: left out",
        "row 2: model org/m-7b",
        "row 4:",
        "100.5 tok/s",
    ):
        assert words in said
    assert "row 5:" not in said


def test_what_a_terminal_would_obey_is_not_printed(tmp_path: Path) -> None:
    column: dict[str, Any] = {"\x1b[31mred": "x"}
    said = "\n".join(describe(understood(tmp_path, runs(**column))))
    assert "\x1b" not in said and "\\x1b" in said
