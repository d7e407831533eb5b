"""Whatever bytes a file holds, reading it ends with a reading or with words for the person; nothing else."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaign.analysis.statistics import analyze_file
from campaign.exchange.imports import ImportRefused, import_runs
from campaign.reading import Asked, TableError, read

quick = settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NAMES = [
    "model", "environment", "repetition", "attempt", "status", "timestamp", "token_throughput_tok_s", "latency_mean_ms",
    "latency", "concurrency",
    "sequence_index", "throttled", "start_temp_c", "error", "exit_code", "throughput (tok/s)", "mem_MiB", "effort",
    "unit", "request_index", "date", "",
]  # fmt: skip
CELLS = st.one_of(
    st.sampled_from(
        ["", "native", "docker", "native ", "1", "2", "1.5", "1,5", "1,234", "1.234,5", "1 234", "1'234", "OOM", "ok",
         "failed", "nan", "inf", "1e400",
         "9999-12-31", "03/11/2025", "2025-11-03T10:00:00Z", "1760000000", "99 %", "12 ms", "\x1b[31m", "..", "a" * 500,
         "\ud83d\ude00", "-", "true",
         "0x10", "١٢", "1_000", "+-1", ",", ".", "1,", "=1+1"]
    ),
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(str),
    st.text(max_size=8),
)  # fmt: skip
TABLES = st.lists(st.sampled_from(NAMES), min_size=1, max_size=8).flatmap(
    lambda names: st.tuples(
        st.just(names), st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=6)
    )
)


def outcome(path: Path, **asked: Any) -> str:
    """Words of a refusal, or nothing. Fails for any other exception."""
    said = ""
    for everything in (False, True):
        try:
            read([path], Asked(**asked), everything=everything)
        except TableError as error:
            said = str(error)
            assert said.strip()
            assert "Traceback" not in said
    return said


@quick
@given(
    table=TABLES,
    mark=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    ragged=st.booleans(),
)
def test_a_delimited_table(
    tmp_path: Path, table: tuple[list[str], list[list[str]]], mark: str, encoding: str, ragged: bool
) -> None:
    names, rows = table
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark)
    writer.writerow(names)
    writer.writerows(row[:-1] if ragged and i == 1 else row for i, row in enumerate(rows))
    file = tmp_path / "runs.csv"
    file.write_bytes(out.getvalue().encode(encoding, "replace"))
    outcome(file)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["native", "docker", "m"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), inner, max_size=6),
    ),
    max_leaves=30,
)


@quick
@given(value=JSON, lines=st.booleans())
def test_json_of_any_shape(tmp_path: Path, value: Any, lines: bool) -> None:
    file = tmp_path / "runs.json"
    text = "\n".join(json.dumps(x) for x in value) if lines and isinstance(value, list) else json.dumps(value)
    file.write_text(text, encoding="utf-8")
    outcome(file)


@quick
@given(
    data=st.binary(max_size=300),
    magic=st.sampled_from(
        [
            b"",
            b"PK\x03\x04",
            b"PAR1",
            b"ARROW1",
            b"\x1f\x8b",
            b"BZh9",
            b"\xfd7zXZ\x00",
            b"\xff\xfe",
            b"{",
            b"[",
            b"|a|b|\n|-|-|\n",
        ]
    ),
)
def test_any_bytes(tmp_path: Path, data: bytes, magic: bytes) -> None:
    file = tmp_path / "runs.csv"
    file.write_bytes(magic + data)
    outcome(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"model": ' * 5000, "JSON|deep"),
        ("[" * 90 + "1" + "]" * 90, "deep"),
        ('{"a":' * 90 + "1" + "}" * 90, "deep"),
        ('[{"model": "m", "environment": "native", "token_throughput_tok_s": 1' + "0" * 5000 + "}]", "JSON|beyond"),
        ('[{"model": "m", "environment": "native", "repetition": 1, "token_throughput_tok_s": 1' + "0" * 400 + "}]",
         "beyond"),
        ("model,environment,repetition,token_throughput_tok_s\nm,native,1,1e300\n", "beyond any measurement"),
        ('[{"model": "\\ud800", "environment": "native", "repetition": 1, "token_throughput_tok_s": 1}]',
         "cannot be shown"),
        (('{"runs": [{"model": "m", "environment": "native", "token_throughput_tok_s": 1, "repetition": 1}, {"model": '
            '"m", "environment": "native", "token_throughput_tok_s": 2}]}'), "repetition"),
        ("", "empty"),
        ("\ufeff", "empty"),
        ("model,environment\n", "no runs"),
        ("model,environment,repetition,token_throughput_tok_s\nm,native,1,100\nm,docker,1\n",
         "row 3 has 3 cells, the header 4"),
        ("model,environment,repetition,token_throughput_tok_s\nm,native,1,100,64\n", "decimal comma"),
        ("model,environment,repetition,token_throughput_tok_s,timestamp\nm,native,1,100,9999-01-01\n", "9999"),
        ("model,environment,repetition,token_throughput_tok_s\nm,,1,100\n", "'environment' is empty in row 2"),
        ("model,environment,repetition,token_throughput_tok_s\nm,native,inf,100\n", "repetition"),
        ("model,environment,repetition,token_throughput_tok_s\nm,native,1.5,100\n", "repetition"),
        ("model,environment,repetition,token_throughput_tok_s\nm,native,1e30,100\n", "repetition"),
        ("model,model,environment,token_throughput_tok_s\nm,m,native,100\n", "several columns are called 'model'"),
        ("model,environment,repetition,token_throughput_tok_s\nm\x1b[2J,native,1,100\n", "cannot be shown"),
        ("model,environment,repetition,token_throughput_tok_s\n../../etc,native,1,100\n", r"\.\."),
        (f"model,environment,repetition,token_throughput_tok_s\n{'m' * 10_000},native,1,100\n", "longer than"),
        ('model,environment,repetition,token_throughput_tok_s\n"m\nm",native,1,100\n', "cannot be shown"),
    ],
)  # fmt: skip
def test_what_ended_in_a_traceback_or_in_nonsense_is_refused_with_its_place(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "runs.txt"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ImportRefused, match=says):
        import_runs(file, tmp_path / "results", name="r")
    assert not list(tmp_path.glob("results/*")) and not list(tmp_path.glob("results/.*"))


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("campaign.reading.source.MOST_BYTES", 2**20)
    file = tmp_path / "bomb.csv.gz"
    file.write_bytes(gzip.compress(bytes(2**21)))
    with pytest.raises(TableError, match="larger than"):
        read([file], Asked(), everything=True)


@settings(quick, max_examples=60)
@given(
    name=st.one_of(st.sampled_from(NAMES), st.text(min_size=1, max_size=8)),
    cells=st.lists(CELLS, min_size=8, max_size=8),
)
def test_a_sound_table_with_one_odd_column(tmp_path: Path, name: str, cells: list[str]) -> None:
    """Is taken in whole, with a folder that SQL can read, or refused without leaving anything."""
    rows = [
        {"model": "m", "environment": arm, "repetition": rep, "token_throughput_tok_s": 100 + rep}
        for rep in range(1, 5)
        for arm in ("native", "docker")
    ]
    file = tmp_path / "runs.json"
    file.write_text(json.dumps([row | {name: cell} for row, cell in zip(rows, cells, strict=True)]), encoding="utf-8")
    outcome(file)
    with tempfile.TemporaryDirectory() as results:
        try:
            folder = import_runs(file, Path(results), name="r")
        except ImportRefused:
            assert list(Path(results).iterdir()) == []
            return
        assert [path.name for path in Path(results).iterdir()] == ["r"]
        assert len(duckdb.sql(f"FROM '{folder / 'imported.parquet'}'").fetchall()) == 8


@settings(quick, max_examples=40)
@given(
    columns=st.dictionaries(
        st.sampled_from(
            [
                *NAMES[3:],
                "start_x",
                "driver",
                "weights_sha256",
                "parameters",
                "order_in_block",
                "workload",
                "batch_size",
                "score",
            ]
        ),
        st.lists(st.one_of(CELLS, st.sampled_from("12345"), st.floats(0, 100).map(str)), min_size=8, max_size=8),
        max_size=3,
    )
)
def test_what_is_read_can_be_analysed(tmp_path: Path, columns: dict[str, list[str]]) -> None:
    rows: list[dict[str, Any]] = [
        {"model": "m", "environment": arm, "repetition": rep, "token_throughput_tok_s": 100 + rep}
        for rep in range(1, 5)
        for arm in ("native", "docker")
    ]
    for name, cells in columns.items():
        for row, cell in zip(rows, cells, strict=True):
            row[name] = cell
    file = tmp_path / "runs.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    with contextlib.suppress(TableError):
        assert analyze_file(file, tmp_path / "out.json")["reading"]["rows"] == 8


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, says in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "none", "no such file"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        with pytest.raises(TableError, match=says):
            read([path], Asked(), everything=True)
