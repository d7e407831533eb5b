"""vLLM by its own benchmarks: ``vllm bench throughput`` (primary), and ``vllm bench serve`` against a server started beside it
where latency is asked for.

Prompts are vLLM's own random dataset from the workload's seed, not the shared dataset file: no version reads token ids from
a file. Source: ``vllm/benchmarks`` of 0.11 to 0.33.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.engines import OUTPUT, EngineError, weights
from actors.engines.requests import write_requests
from actors.engines.trtllm_report import ReportError, finite
from actors.engines.vllm_report import Log, ServeReport, ThroughputReport, read_log, read_report, request_rows
from actors.types import Launch, Metric, Model, Mount, Prepared, Report, Workload

INPUT = "/campaign/input"
PORT = 18917
READY_S = 1800
"""How long the server may take to load the weights."""

UTILIZATION = 0.8
"""Share of the device's memory that vLLM may take. Its own default of 0.9 leaves unified memory too little for the host."""

PROBES: dict[str, tuple[str, ...]] = {
    "help_throughput": ("vllm", "bench", "throughput", "--help"),
    "help_serve": ("vllm", "bench", "serve", "--help"),
}
"""Fact of ``Prepared`` to the command whose output it holds, to be run once per image."""

COMMON = {
    "help_throughput": "--random-input-len --random-output-len --seed",
    "help_serve": "--ready-check-timeout-sec --save-detailed --ignore-eos --seed",
}

SERVE = """\
{server} & server=$!
{bench} & bench=$!
exec 3<> <(:)
while kill -0 "$server" 2>/dev/null && kill -0 "$bench" 2>/dev/null; do read -rt 0.2 <&3; done
if kill -0 "$bench" 2>/dev/null; then
  wait "$server"; code=$?
  echo "vllm serve ended before the benchmark, exit code $code" >&2
  kill "$bench"; wait "$bench"; exit 70
fi
wait "$bench"; code=$?
kill "$server" 2>/dev/null; wait "$server" 2>/dev/null
exit "$code"
"""
"""Server and client live and die together; the exit code is the client's. Not ``wait -n``: before bash 5.3 it waits for the other for ever
where one has ended already. The pause is a read that nothing answers, so that nothing is forked beside the benchmark."""

GIB = 2**30


class Vllm:
    name = "vllm"

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Find the weights and refuse another model's. Nothing is downloaded."""
        folder = weights.locate(model, cache)
        checkpoint = weights.inspect(folder)
        weights.agree(model, checkpoint)
        return Prepared(
            files={"weights": str(folder)},
            digests={"weights": weights.digest(folder, cache)},
            facts={
                "model_identity": identity(model),
                "architecture": checkpoint.architecture,
                "weight_bytes": checkpoint.weight_bytes,
            },
        )

    def expect(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Where :meth:`prepare` will have found things; nothing is read."""
        return Prepared(files={"weights": str(weights.place(model, cache))})

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        where = inside(model)
        engine = ["--max-num-seqs", str(_concurrency(model, workload)), "--max-model-len", str(_context(workload))]
        if model.kv_cache_tokens is not None:
            if model.kv_bytes_per_token is None:
                raise EngineError(
                    f"model '{model.name}': kv_cache_tokens needs kv_bytes_per_token for vllm, which counts bytes"
                )
            engine += ["--kv-cache-memory-bytes", str(model.kv_cache_tokens * model.kv_bytes_per_token)]
        engine += list(_options({"gpu-memory-utilization": UTILIZATION, **model.engine_options.get("vllm", {})}))
        if workload.kind == "throughput":
            argv = _throughput(where, workload, prepared, engine)
        else:
            argv = _serve(model, workload, prepared, engine)
        return Launch(
            argv=tuple(argv),
            variables={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
            mounts=(Mount(source=prepared.files["weights"], target=where),),
            workdir=OUTPUT,
        )

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        log = read_log(*(_text(output.parent / name) for name in ("stdout.log", "stderr.log")))
        asked = workload.requests * workload.output_tokens
        try:
            report = read_report(output / "report.json")
            if isinstance(report, ServeReport) != (workload.kind == "latency"):
                raise ReportError(f"report.json: a {type(report).__name__} for a {workload.kind} workload")
        except ReportError as error:
            written = (output / "report.json").exists()
            failure = f"report_invalid: {error}" if written else f"report_missing: {error}"
            failure = str(log.failure) if log.failure is not None else failure
            return Report(
                metrics=metrics(None, log, reason=failure.split(":")[0]),
                requests_expected=workload.requests,
                tokens_expected=asked,
                failure=failure,
                engine_version=log.version,
            )
        wrong = list(mismatches(report, log, model, workload, prepared))
        tokens: int | None
        if isinstance(report, ServeReport):
            answered, failed, tokens = report.completed, report.failed, report.total_output_tokens
            if report.ttfts:
                write_requests(output.parent / "requests.parquet", request_rows(report))
        else:
            answered, failed, tokens = report.num_requests, 0, log.output_tokens
        other = any(name == "model_identity" for name, _ in wrong)
        return Report(
            metrics=metrics(report, log),
            model_identity=f"{_ran(report, log)} (not the model asked for)" if other else identity(model),
            requests_expected=workload.requests,
            requests_answered=answered,
            requests_failed=failed,
            tokens_expected=asked if tokens is not None else None,
            tokens_generated=tokens,
            failure="; ".join(f"{name}: {what}" for name, what in wrong) or None,
            engine_version=log.version,
        )


def identity(model: Model) -> str:
    return model.huggingface_id or f"local/{model.name}"


def inside(model: Model) -> str:
    """Where the weights are mounted. The path carries the model's name, because older versions name nothing else."""
    return f"{INPUT}/{identity(model)}"


def mismatches(
    report: ThroughputReport | ServeReport, log: Log, model: Model, workload: Workload, prepared: Prepared
) -> Iterator[tuple[str, str]]:
    """Named differences between what was asked and what ran."""
    ran = _ran(report, log)
    if ran is None:
        yield "model_identity", "neither report nor log says which model ran"
    elif ran not in (identity(model), inside(model), prepared.files["weights"]):  # the last on the bare host
        yield "model_identity", f"asked for {identity(model)}, the engine ran {ran}"
    if log.weights_gib and model.weight_bytes:
        ratio = log.weights_gib / (model.weight_bytes / GIB)
        if not 0.67 <= ratio <= 1.5:
            yield "model_identity", f"{log.weights_gib:g} GiB of weights, the model has {model.weight_bytes / GIB:.2f}"
    prompt = report.total_input_tokens if isinstance(report, ServeReport) else log.prompt_tokens
    wanted = workload.requests * workload.input_tokens
    # A random prompt is decoded to text and encoded again, which moves its length a little.
    if prompt is not None and not math.isclose(prompt, wanted, rel_tol=0.02):
        yield "workload_mismatch", f"{prompt} input tokens, not {wanted}"


def metrics(report: ThroughputReport | ServeReport | None, log: Log, reason: str = "no report") -> tuple[Metric, ...]:
    """Every figure under the project's name; missing ones say why."""
    found: dict[str, tuple[float | None, str, str]] = {}
    offline = "vllm bench throughput times no single request" if isinstance(report, ThroughputReport) else reason
    if isinstance(report, ServeReport):
        found["token_throughput_tok_s"] = (report.output_throughput, "report.json: output_throughput", "")
        found["total_token_throughput_tok_s"] = (
            report.total_token_throughput,
            "report.json: total_token_throughput",
            "",
        )
        found["request_throughput_req_s"] = (report.request_throughput, "report.json: request_throughput", "")
        found["steady_s"] = (report.duration, "report.json: duration", "")
    elif isinstance(report, ThroughputReport):
        out = log.output_tokens / report.elapsed_time if log.output_tokens is not None and report.elapsed_time else None
        silent = "the report counts prompt and output tokens together, and the log has no 'Total num output tokens'"
        found["token_throughput_tok_s"] = (out, "log: Total num output tokens, by report.json: elapsed_time", silent)
        found["total_token_throughput_tok_s"] = (report.tokens_per_second, "report.json: tokens_per_second", "")
        found["request_throughput_req_s"] = (report.requests_per_second, "report.json: requests_per_second", "")
        found["steady_s"] = (report.elapsed_time, "report.json: elapsed_time", "")
    for ours, theirs in (("latency", "e2el"), ("ttft", "ttft"), ("itl", "itl"), ("tpot", "tpot")):
        for name in ("mean", "p50", "p95", "p99"):
            key = f"{name}_{theirs}_ms"
            value = getattr(report, key) if isinstance(report, ServeReport) else None
            found[f"{ours}_{name}_ms"] = (value, f"report.json: {key}", offline)
    silent = "the log has no such line"
    no_peak = "vLLM prints no peak; see peak_unified_memory_gib and attempt_memory_peak_gib"
    found["peak_memory_gib"] = (None, "log", no_peak)
    found["kv_cache_gib"] = (log.kv_cache_gib, "log: Available KV cache memory", silent)
    found["kv_cache_tokens"] = (log.kv_cache_tokens, "log: GPU KV cache size", silent)
    found["weights_gib"] = (log.weights_gib, "log: Model loading took", silent)
    found["load_weights_s"] = (log.load_weights_s, "log: Model loading took", silent)
    units = {"tok_s": "tok/s", "req_s": "req/s", "ms": "ms", "s": "s", "gib": "GiB", "tokens": "tokens"}
    for name in ("token_throughput_tok_s", "total_token_throughput_tok_s", "request_throughput_req_s", "steady_s"):
        found.setdefault(name, (None, "report.json", reason))
    return tuple(
        Metric(
            name=name,
            value=finite(value),
            unit_of_measure=next(unit for end, unit in units.items() if name.endswith(f"_{end}")),
            source=source,
            reason=None
            if finite(value) is not None
            else why
            if value is None
            else "the program wrote no finite number",
        )
        for name, (value, source, why) in found.items()
    )


def parse_report_file(path: Path, log_path: Path | None) -> dict[str, Any]:
    """One report read apart from a campaign."""
    log = read_log(_text(log_path)) if log_path is not None else Log()
    if not path.exists() and log.failure is not None:
        report, failure = None, str(log.failure)
    else:
        report, failure = read_report(path), None
    found = metrics(report, log, reason=failure or "no report")
    answered = 0
    if report is not None:
        answered = report.completed if isinstance(report, ServeReport) else report.num_requests
    return {
        "engine": "vllm",
        "engine_version": log.version,
        "model_identity": _ran(report, log),
        "requests_answered": answered,
        "failure": failure,
        "metrics": {metric.name: metric.value for metric in found},
        "units": {metric.name: metric.unit_of_measure for metric in found},
        "sources": {metric.name: metric.source for metric in found if metric.value is not None},
        "missing": {metric.name: metric.reason for metric in found if metric.value is None},
        "notes": [f"keys that no version read has, ignored: {', '.join(unknown)}"]
        if (unknown := _unknown(report))
        else [],
    }


def _unknown(report: ThroughputReport | ServeReport | None) -> tuple[str, ...]:
    """A served run always carries more keys (configuration, medians) than the figures need: those are known."""
    return tuple(report.model_extra or ()) if isinstance(report, ThroughputReport) else ()


def _ran(report: ThroughputReport | ServeReport | None, log: Log) -> str | None:
    return (report.model_id if report is not None else None) or log.model


def _throughput(where: str, workload: Workload, prepared: Prepared, engine: list[str]) -> list[str]:
    listed = _listed(prepared, "help_throughput")
    lengths = ("--random-input-len", "--random-output-len")
    if lengths[0] not in listed:
        lengths = ("--input-len", "--output-len")
    argv = ["vllm", "bench", "throughput", "--model", where, "--backend", "vllm", "--dataset-name", "random"]
    argv += [lengths[0], str(workload.input_tokens), lengths[1], str(workload.output_tokens)]
    argv += ["--num-prompts", str(workload.requests), "--seed", str(workload.seed)]
    return [*argv, "--output-json", f"{OUTPUT}/report.json", *engine]


def _serve(model: Model, workload: Workload, prepared: Prepared, engine: list[str]) -> list[str]:
    where = inside(model)
    listed = _listed(prepared, "help_serve")
    server = [
        "vllm",
        "serve",
        where,
        "--served-model-name",
        identity(model),
        "--host",
        "127.0.0.1",
        "--port",
        str(PORT),
    ]
    server += ["--seed", str(workload.seed), *engine]
    bench = ["vllm", "bench", "serve", "--base-url", f"http://127.0.0.1:{PORT}", "--endpoint", "/v1/completions"]
    bench += ["--model", identity(model), "--tokenizer", where, "--dataset-name", "random"]
    bench += ["--random-input-len", str(workload.input_tokens), "--random-output-len", str(workload.output_tokens)]
    bench += [
        "--num-prompts",
        str(workload.requests),
        "--request-rate",
        "inf",
        "--max-concurrency",
        str(_concurrency(model, workload)),
    ]
    bench += ["--ignore-eos", "--seed", str(workload.seed)]
    bench += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,95,99"]
    bench += ["--save-result", "--save-detailed", "--result-dir", OUTPUT, "--result-filename", "report.json"]
    if "--num-warmups" in listed:
        bench += ["--num-warmups", str(workload.warmup_requests)]
    if "--ready-check-timeout-sec" in listed:
        bench += ["--ready-check-timeout-sec", str(READY_S)]
    return ["bash", "-c", SERVE.format(server=shlex.join(server), bench=shlex.join(bench))]


def _concurrency(model: Model, workload: Workload) -> int:
    """As stated; else the batch size, or one request at a time where latency is asked for."""
    return workload.concurrency or (model.batch_size if workload.kind == "throughput" else 1)


def _options(options: dict[str, Any]) -> Iterator[str]:
    """``{"gpu-memory-utilization": 0.8, "enforce-eager": True}`` as command line options."""
    for name, value in options.items():
        if value is False:
            continue
        yield f"--{name}"
        if value is not True:
            yield str(value)


def _context(workload: Workload) -> int:
    """Room for one request, and for the few tokens that encoding a random prompt again may add."""
    return workload.input_tokens + workload.output_tokens + 64


def _listed(prepared: Prepared, role: str) -> frozenset[str]:
    return frozenset(re.findall(r"--[a-z][\w-]*", str(prepared.facts.get(role, COMMON[role]))))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
