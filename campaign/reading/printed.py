"""What benchmark programs print for people."""

from __future__ import annotations

import csv
import re
from typing import Any

from campaign.reading.errors import TableError
from campaign.reading.formats import recognise_rows
from campaign.reading.known import LLAMA_BENCH_ROWS, Known, Rows


def printed(text: str) -> tuple[Rows, Known] | None:
    """Of text that is no table: MLPerf's summary and llama-bench's SQL are read,
    printed tables for people are refused."""
    head = text[:20_000]
    if "MLPerf Results Summary" in head:
        return _mlperf(text)
    if re.search(r"INSERT\s+INTO\s+\"?llama_bench\b", head, re.IGNORECASE) or re.search(
        r"CREATE TABLE IF NOT EXISTS llama_bench", head
    ):
        return _llama_sql(text)
    if "Serving Benchmark Result" in head:
        raise TableError(
            "this is what vLLM or SGLang print for people: give the file that --save-result (vLLM) "
            "or --output-file (SGLang) writes"
        )
    if re.search(
        r"^={3,} PERFORMANCE OVERVIEW|PyTorch backend.*trtllm|^=+\s*$\n= .*(ENGINE|PERFORMANCE)", head, re.MULTILINE
    ):
        raise TableError("this is what trtllm-bench prints for people: give the file that --report_json writes")
    if "NVIDIA GenAI-Perf | LLM Metrics" in head or "NVIDIA AIPerf |" in head:
        raise TableError(
            "this is what genai-perf or AIPerf print for people: "
            "give the JSON file of the same run (profile_export_…json)"
        )
    return None


def _mlperf(text: str) -> tuple[Rows, Known]:
    pairs = [line.partition(":")[::2] for line in text.splitlines() if ":" in line]
    row: dict[str, Any] = {name.strip().rstrip(":").strip(): cell.strip().lstrip(":").strip() for name, cell in pairs}
    meanings = {"Scenario": "workload", "Result is": "status", "SUT name": "ignore", "Mode": "ignore"}
    units: dict[str, str] = {}
    names = (
        (r"(Completed )?[Ss]amples per second", "request_throughput_req_s", "req/s"),
        (r"(Completed )?[Tt]okens per second( \(inferred\))?", "token_throughput_tok_s", "tok/s"),
        (r"Mean latency \(ns\)", "latency_mean_ms", "ns"),
        (r"50\.00 percentile latency \(ns\)", "latency_p50_ms", "ns"),
        (r"95\.00 percentile latency \(ns\)", "latency_p95_ms", "ns"),
        (r"99\.00 percentile latency \(ns\)", "latency_p99_ms", "ns"),
        (r"Mean First Token latency \(ns\)", "ttft_mean_ms", "ns"),
        (r"99\.00 percentile first token latency \(ns\)", "ttft_p99_ms", "ns"),
    )
    kept: dict[str, Any] = {key: row[key] for key in ("Scenario", "Result is", "SUT name", "Mode") if key in row}
    for pattern, ours, unit in names:
        column = next((name for name in row if re.fullmatch(pattern, name) and ours not in meanings.values()), None)
        if column:
            kept[column], meanings[column] = row[column], ours
            if unit:
                units[column] = unit
    return [("the file", kept)], Known(
        "an MLPerf summary",
        meanings,
        units,
        notes=("MLPerf's samples are requests; a result that is INVALID counts as failed",),
    )


def _llama_sql(text: str) -> tuple[Rows, Known]:
    rows: Rows = []
    pattern = re.compile(
        r"INSERT\s+INTO\s+\"?llama_bench\"?\s*\(([^)]*)\)\s*VALUES\s*\((.*?)\)\s*;", re.IGNORECASE | re.DOTALL
    )
    for i, match in enumerate(pattern.finditer(text), 1):
        names = [name.strip().strip('"') for name in match[1].split(",")]
        cells = next(csv.reader([match[2].replace("\n", " ")], quotechar="'", skipinitialspace=True), [])
        if len(cells) != len(names):
            raise TableError(f"its INSERT number {i} has {len(cells)} values for {len(names)} columns")
        rows.append((f"INSERT {i}", dict(zip(names, cells, strict=True))))
    if not rows:
        raise TableError("SQL of llama-bench without any INSERT INTO llama_bench: the run did not finish")
    recognise_rows([row for _, row in rows])
    return rows, LLAMA_BENCH_ROWS


def markdown(names: list[str], rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Known] | None:
    """llama-bench's default output: ``| model | size | params | backend | … | test | t/s |``."""
    if not {"model", "test", "t/s"} <= set(names):
        return None
    for row in rows:
        test = str(row["test"]).strip()
        both, prompt = test.startswith("pp") and "+" in test, test.startswith("pp")
        name = "prompt and generation tok/s" if both else "prompt tok/s" if prompt else "generation tok/s"
        row[name] = str(row["t/s"]).partition("±")[0].strip()
    return rows, LLAMA_BENCH_ROWS
