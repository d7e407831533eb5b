"""vLLM by its own benchmarks: ``vllm bench throughput`` (primary), and ``vllm bench serve`` against a server started
beside it where latency is asked for.

Prompts are vLLM's own random dataset from the workload's seed, not the shared dataset file: no version reads token ids
from a file. Source: ``vllm/benchmarks`` of 0.11 to 0.33.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.engines import CACHE, KERNEL_CACHES, OUTPUT, BuildsNothing, EngineError, Keys, Ways
from actors.engines.common import weights
from actors.engines.common.failures import report_missing
from actors.engines.common.report_files import refuse_reference, report_or_log
from actors.engines.common.requests import write_requests
from actors.engines.common.timestamped_log import log_text
from actors.engines.trtllm.report import ReportError, finite
from actors.engines.vllm import dummy_checkpoint
from actors.engines.vllm.report import (
    LatencyReport,
    Log,
    ServeReport,
    ThroughputReport,
    VllmReport,
    read_log,
    read_report,
    request_rows,
)
from actors.types import Launch, Metric, Model, Mount, Prepared, RandomWeights, Report, Workload

INPUT = "/campaign/input"
PORT = 18917
READY_S = 1800
"""How long the server may take to load the weights."""

UTILIZATION = 0.8
"""Share of the device's memory that vLLM may take. Its own default of 0.9 leaves
unified memory too little for the host."""

PROBES: dict[str, tuple[tuple[str, ...], ...]] = {
    # Plain --help lists groups of options only, from about 0.11 on; versions before do not understand `=all`.
    "help_throughput": tuple(("vllm", "bench", "throughput", way) for way in ("--help=all", "--help")),
    "help_serve": tuple(("vllm", "bench", "serve", way) for way in ("--help=all", "--help")),
}
"""Fact of ``Prepared`` to the ways to ask an image for it, once per image."""

COMMON = {
    "help_throughput": "--random-input-len --random-output-len --seed",
    "help_serve": "--ready-check-timeout-sec --save-detailed --ignore-eos --seed",
}
"""What every version from 0.14 to 0.33 takes: assumed where nobody could ask the image."""

CACHE_VARIABLES = KERNEL_CACHES | {
    "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
    "TILELANG_CACHE_DIR": f"{CACHE}/tilelang",
    "NUMBA_CACHE_DIR": f"{CACHE}/numba",
}
"""Its own: torch.compile's artefacts, TileLang, numba."""

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
"""Server and client live and die together; the exit code is the client's. Not ``wait -n``: before bash 5.3 it waits for
the other for ever where one has ended already. The pause is a read that nothing answers,
so that nothing is forked beside the benchmark."""

GIB = 2**30


class Vllm(BuildsNothing):
    name = "vllm"
    title = "vLLM"
    needs_gpu = True

    @property
    def probes(self) -> Mapping[str, Ways]:
        return PROBES

    @property
    def cache_variables(self) -> Mapping[str, str]:
        return CACHE_VARIABLES

    def reads_checkpoint(self, model: Model) -> bool:
        return model.huggingface_id is not None and model.random_weights is None

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Find the weights and refuse another model's. Nothing is downloaded. A model with random weights gets its
        shape and a tokenizer written; vLLM draws the weights when it starts."""
        if model.random_weights is not None:
            return _prepare_random(model, model.random_weights, cache)
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
        if model.random_weights is not None:
            return Prepared(files={"weights": str(dummy_checkpoint.place(model.name, model.random_weights, cache))})
        return Prepared(files={"weights": str(weights.place(model, cache))})

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        """One process where throughput is asked for, else a server and its client. An option that engine_options names
        takes the place of the one that stands here; none is given twice."""
        engine = _engine_options(model, workload)
        if workload.kind == "throughput":
            argv = _throughput(model, workload, prepared, engine)
        else:
            argv = _serve(model, workload, prepared, engine)
        return Launch(
            argv=tuple(argv),
            variables={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
            mounts=(Mount(source=prepared.files["weights"], target=inside(model)),),
            workdir=OUTPUT,
        )

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        log = read_log(*(log_text(output.parent / name) for name in ("stdout.log", "stderr.log")))
        asked = workload.requests * workload.output_tokens
        try:
            report = read_report(output / "report.json")
            wanted = ServeReport if workload.kind == "latency" else ThroughputReport
            if not isinstance(report, wanted):
                raise ReportError(f"report.json: a {type(report).__name__} for a {workload.kind} workload")
            if isinstance(report, ServeReport):
                _check_times(report, workload)
                if report.ttfts:
                    write_requests(output.parent / "requests.parquet", request_rows(report))
        except EngineError as error:
            written = (output / "report.json").exists()
            failure = (
                f"report_invalid: {error}"
                if written
                else str(report_missing(log.lines, "--output-json or --save-result"))
            )
            failure = str(log.failure) if log.failure is not None else failure
            return Report(
                metrics=metrics(None, log, reason=failure.split(":")[0]),
                requests_expected=workload.requests,
                tokens_expected=asked,
                failure=failure,
                engine_version=log.version,
                ready_utc_ns=log.ready_utc_ns,
            )
        wrong = list(mismatches(report, log, model, workload, prepared))
        tokens: int | None
        if isinstance(report, ServeReport):
            answered, failed, tokens = report.completed, report.unanswered, report.total_output_tokens
        else:
            answered, failed, tokens = report.num_requests, 0, log.output_tokens
        other = any(name == "model_identity" for name, _ in wrong)
        failure = none_answered(report, log) or "; ".join(f"{name}: {what}" for name, what in wrong)
        return Report(
            metrics=metrics(report, log),
            model_identity=f"{_ran(report, log)} (not the model asked for)" if other else identity(model),
            requests_expected=workload.requests,
            requests_answered=answered,
            requests_failed=failed,
            tokens_expected=asked if tokens is not None else None,
            tokens_generated=tokens,
            failure=failure or None,
            engine_version=log.version,
            ready_utc_ns=log.ready_utc_ns,
        )

    def parse_file(self, report: Path, log: Path | None, requests: Path | None, keys: Keys) -> dict[str, Any]:
        refuse_reference(self, keys)
        return parse_report_file(*report_or_log(report, log))

    def texts(self, output: Path) -> tuple[str, ...] | None:
        """The answers of an attempt, or None where it kept none: ``vllm bench throughput`` writes no text."""
        try:
            report = read_report(output / "report.json")
        except ReportError:
            return None
        kept = report.generated_texts if isinstance(report, ServeReport) else []
        return tuple(text or "" for text in kept) or None


def identity(model: Model) -> str:
    """What the engine must say it ran. Random weights are nobody's model, whatever shape they have."""
    if model.random_weights is not None:
        return f"local/{model.name}"
    return model.huggingface_id or f"local/{model.name}"


def inside(model: Model) -> str:
    """Where the weights are mounted. The path carries the model's name, because older versions name nothing else."""
    return f"{INPUT}/{identity(model)}"


def none_answered(report: VllmReport | None, log: Log) -> str:
    """Why there are no times at all: a client writes 0.0 for each of them then. Empty where a request was answered."""
    if not isinstance(report, ServeReport) or report.completed:
        return ""
    first = next((error for error in report.errors if error), None)
    last_line = first.strip().splitlines()[-1] if first and first.strip() else ""
    cause = f"{log.failure}" if log.failure is not None else last_line
    return f"requests_failed: none of {report.num_prompts} requests was answered" + (f"; {cause}" if cause else "")


def _check_times(report: ServeReport, workload: Workload) -> None:
    """Every figure that the client was asked for is there, or has its reason to be nothing. Raises ReportError."""
    extra = report.model_extra or {}
    for kind in ("ttft", "tpot", "itl", "e2el"):
        for statistic in ("mean", "p50", "p95", "p99"):
            if f"{statistic}_{kind}_ms" not in extra:
                raise ReportError(f"report.json: key '{statistic}_{kind}_ms' is missing", f"{statistic}_{kind}_ms")


def mismatches(
    report: VllmReport, log: Log, model: Model, workload: Workload, prepared: Prepared
) -> Iterator[tuple[str, str]]:
    """Named differences between what was asked and what ran."""
    ran = _ran(report, log)
    if ran is None:
        yield "model_identity", "neither report nor log says which model ran"
    elif ran not in (identity(model), inside(model), prepared.files.get("weights")):  # the last on the bare host
        yield "model_identity", f"asked for {identity(model)}, the engine ran {ran}"
    known = prepared.facts.get("weight_bytes") if model.random_weights is not None else model.weight_bytes
    if log.weights_gib and isinstance(known, int):
        ratio = log.weights_gib / (known / GIB)
        if not 0.67 <= ratio <= 1.5:
            yield "model_identity", f"{log.weights_gib:g} GiB of weights, the model has {known / GIB:.2f}"
    prompt = report.total_input_tokens if isinstance(report, ServeReport) else log.prompt_tokens
    answered = report.completed if isinstance(report, ServeReport) else workload.requests
    wanted = answered * workload.input_tokens
    # A random prompt is decoded to text and encoded again, which moves its length a little.
    if prompt is not None and not math.isclose(prompt, wanted, rel_tol=0.02):
        yield "workload_mismatch", f"{prompt} input tokens, not {wanted}"


def metrics(report: VllmReport | None, log: Log, reason: str = "no report") -> tuple[Metric, ...]:
    """Every figure under the project's name; missing ones say why."""
    found: dict[str, tuple[float | None, str, str]] = {}
    if isinstance(report, ServeReport):
        found["token_throughput_tok_s"] = (report.output_throughput, "report.json: output_throughput", "")
        total = (
            "total_token_throughput"
            if report.total_token_throughput is not None
            else "input_throughput + output_throughput"
        )
        found["total_token_throughput_tok_s"] = (report.total_tokens_per_second, f"report.json: {total}", "")
        found["request_throughput_req_s"] = (report.request_throughput, "report.json: request_throughput", "")
        found["steady_s"] = (report.duration, "report.json: duration", "")
    elif isinstance(report, ThroughputReport):
        out = log.output_tokens / report.elapsed_time if log.output_tokens is not None and report.elapsed_time else None
        silent = "the report counts prompt and output tokens together, and the log has no 'Total num output tokens'"
        found["token_throughput_tok_s"] = (out, "log: Total num output tokens, by report.json: elapsed_time", silent)
        found["total_token_throughput_tok_s"] = (report.tokens_per_second, "report.json: tokens_per_second", "")
        found["request_throughput_req_s"] = (report.requests_per_second, "report.json: requests_per_second", "")
        found["steady_s"] = (report.elapsed_time, "report.json: elapsed_time", "")
    for name in ("token_throughput_tok_s", "total_token_throughput_tok_s", "request_throughput_req_s", "steady_s"):
        batch = "vllm bench latency times whole batches and counts no tokens"
        found.setdefault(name, (None, "report.json", batch if isinstance(report, LatencyReport) else reason))
    for ours, theirs in (("latency", "e2el"), ("ttft", "ttft"), ("itl", "itl"), ("tpot", "tpot")):
        for statistic in ("mean", "p50", "p95", "p99"):
            found[f"{ours}_{statistic}_ms"] = _time(report, log, statistic, theirs, reason)
    silent = "the log has no such line"
    no_peak = "vLLM prints no peak; see peak_unified_memory_gib and attempt_memory_peak_gib"
    found["peak_memory_gib"] = (None, "log", no_peak)
    found["kv_cache_gib"] = (log.kv_cache_gib, "log: Available KV cache memory", silent)
    found["kv_cache_tokens"] = (log.kv_cache_tokens, "log: GPU KV cache size", silent)
    found["weights_gib"] = (log.weights_gib, "log: Model loading took", silent)
    found |= _startup(log, silent)
    off = (
        "prefix caching is off"
        if log.prefix_cache_off
        else "the log has no such line; `vllm bench throughput` logs none"
    )
    found["prefix_cache_hit_pct"] = (log.prefix_cache_hit_pct, "log: last Prefix cache hit rate", off)
    rate = report.spec_decode_acceptance_rate if isinstance(report, ServeReport) else None
    source = (
        "report.json: spec_decode_acceptance_rate"
        if rate is not None
        else "log: SpecDecoding metrics, accepted of drafted"
    )
    no_draft = "nothing was drafted: no speculative decoding"
    found["draft_acceptance_pct"] = (rate if rate is not None else log.draft_acceptance_pct, source, no_draft)
    units = {"tok_s": "tok/s", "req_s": "req/s", "ms": "ms", "s": "s", "gib": "GiB", "tokens": "tokens", "pct": "%"}
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


def _startup(log: Log, silent: str) -> dict[str, tuple[float | None, str, str]]:
    """What a start consists of. An attempt knows more of the load: see ``Report.ready_utc_ns``."""
    parts = (log.load_weights_s, log.engine_init_s)
    both = sum(part for part in parts if part is not None) if None not in parts else None
    untold = "neither server nor client says when the measured part begins"
    return {
        "load_weights_s": (log.load_weights_s, "log: Model loading took", silent),
        "compile_s": (log.compile_s, "log: torch.compile took", f"{silent}: nothing was compiled, or another version"),
        "graph_capture_s": (log.graph_capture_s, "log: Graph capturing finished (whole seconds)", silent),
        "engine_init_s": (log.engine_init_s, "log: init engine took", silent),
        "load_s": (both, "log: Model loading and init engine together, without what goes before", silent),
        "warmup_s": (log.warmup_s, "log: until Starting main benchmark run", untold),
        "first_token_s": (None, "log", "vLLM does not time the first token of a start; see ttft_mean_ms"),
    }


def _time(report: VllmReport | None, log: Log, statistic: str, kind: str, reason: str) -> tuple[float | None, str, str]:
    """Value, source and reason of one time. What the user did not ask the client for
    is missing with the option that gives it."""
    source = f"report.json: {statistic}_{kind}_ms"
    if isinstance(report, ThroughputReport):
        return None, source, "vllm bench throughput times no single request"
    if isinstance(report, LatencyReport):
        if kind != "e2el":
            return None, source, "vllm bench latency times whole batches"
        key = {"mean": "avg_latency", "p50": "50", "p99": "99"}.get(statistic)
        seconds = report.avg_latency if key == "avg_latency" else report.percentiles.get(key or "")
        value = seconds * 1e3 if seconds is not None else None
        return value, f"report.json: {key} (of a whole batch)", "vllm bench latency writes no such percentile"
    if report is None:
        return None, source, reason
    if not report.completed:
        return None, source, "no request was answered"
    if kind == "itl" and (why := report.several_tokens_per_message):
        return None, source, why
    if kind == "itl" and log.speculative:
        return None, source, "with speculative decoding a message brings several tokens; see tpot_*"
    value = report.time_ms(statistic, kind)
    extra = report.model_extra or {}
    written = extra.get(f"mean_{kind}_ms", extra.get("mean_latency_ms") if kind == "e2el" else None)
    if written is None:
        return None, source, "the client was not asked for it: --percentile-metrics ttft,tpot,itl,e2el gives it"
    if not written:
        return None, source, "no request gave a sample (one output token has no gap after it)"
    return value, source, "the client was not asked for it: --metric-percentiles 50,95,99 gives it"


def parse_report_file(path: Path, log_path: Path | None) -> dict[str, Any]:
    """One report read apart from a campaign. Without one, the log is searched for the reason."""
    log = read_log(log_text(log_path)) if log_path is not None else Log()
    report: VllmReport | None = None
    if path.exists() or log_path is None:
        report = read_report(path)
        failure = none_answered(report, log) or None
    else:
        failure = str(log.failure or report_missing(log.lines, "--output-json or --save-result"))
    found = metrics(report, log, reason=failure.split(":")[0] if failure else "no report")
    answered = 0
    if isinstance(report, ServeReport):
        answered = report.completed
    elif isinstance(report, ThroughputReport):
        answered = report.num_requests
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
        "notes": list(notes(report)),
    }


def notes(report: VllmReport | None) -> Iterator[str]:
    """What a reader of the figures should know and no failure says."""
    if isinstance(report, LatencyReport):
        yield (
            "vllm bench latency: latency is of a whole batch from first prompt to last token, "
            "and no throughput is written"
        )
    if isinstance(report, ServeReport):
        if report.completed and report.unanswered:
            yield (
                f"{report.unanswered} of {report.num_prompts} requests failed; "
                "the times are of those that were answered"
            )
        if report.several_tokens_per_message:
            yield report.several_tokens_per_message
        if report.total_token_throughput is None:
            yield "a report of before 0.11: total throughput is input_throughput and output_throughput together"
    # A served run always carries more keys (configuration, spread) than the figures need: those are known.
    elif unknown := ", ".join(report.model_extra or ()) if report is not None else "":
        yield f"keys that no version read has, ignored: {unknown}"


def _ran(report: VllmReport | None, log: Log) -> str | None:
    return (report.model_id if report is not None else None) or log.model


Options = dict[str, Any]
"""Option without its dashes to its value; True is a bare flag, False and None leave it out, a table becomes JSON."""

SETTLED = frozenset(
    {"model", "tokenizer", "backend", "dataset-name", "dataset-path", "input-len", "output-len", "random-input-len",
    "random-output-len"}
    | {"random-range-ratio", "num-prompts", "num-warmups", "output-json", "served-model-name", "host", "port",
        "max-num-seqs", "seed"}
)  # fmt: skip
"""What model, workload and harness say; engine_options may not say otherwise,
or figures would answer another question."""


def _prepare_random(model: Model, shape: RandomWeights, cache: Path) -> Prepared:
    folder, digest = dummy_checkpoint.checkpoint(model.name, shape, cache)
    held = {
        "parameters": dummy_checkpoint.parameters(shape),
        "weight_bytes": dummy_checkpoint.weight_bytes(shape),
        "kv_bytes_per_token": dummy_checkpoint.kv_bytes_per_token(shape),
        "layers": shape.layers,
    }
    for key, value in held.items():
        said = getattr(model, key)
        if said is not None and said != value:
            raise EngineError(
                f"model '{model.name}': models.yaml says {key} {said}, its random_weights make {value}",
                f"Correct {key}, or leave it out.",
            )
    return Prepared(
        files={"weights": str(folder)},
        digests={"weights": digest},
        facts={
            "model_identity": identity(model),
            "architecture": dummy_checkpoint.ARCHITECTURES[shape.architecture],
            "weight_bytes": held["weight_bytes"],
            "parameters": held["parameters"],
            "kv_bytes_per_token": held["kv_bytes_per_token"],
            "random_weights": 1,
        },
    )


def _engine_options(model: Model, workload: Workload) -> Options:
    """What the engine itself is given, by either program."""
    given = {name.lstrip("-").replace("_", "-"): value for name, value in model.engine_options.get("vllm", {}).items()}
    if forbidden := sorted(SETTLED & given.keys()):
        raise EngineError(
            f"model '{model.name}': engine_options: vllm sets {', '.join(forbidden)}, "
            "which the model's entry and the workload say",
            "Remove it there; batch_size, requests, tokens and seed are keys of model and workload.",
        )
    options: Options = {"max-num-seqs": _concurrency(model, workload), "max-model-len": _context(workload)}
    if model.kv_cache_tokens is not None:
        kv_bytes = model.kv_bytes_per_token
        if kv_bytes is None and model.random_weights is not None:
            kv_bytes = dummy_checkpoint.kv_bytes_per_token(model.random_weights)
        if kv_bytes is None:
            raise EngineError(
                f"model '{model.name}': kv_cache_tokens needs kv_bytes_per_token for vllm, which counts bytes",
                "Add kv_bytes_per_token to the model in models.yaml.",
            )
        options["kv-cache-memory-bytes"] = model.kv_cache_tokens * kv_bytes
    options["gpu-memory-utilization"] = UTILIZATION
    if model.random_weights is not None:
        options["load-format"] = "dummy"
    # On by default in vLLM. A prompt that comes again, in another block or after a warm-up, would cost less than a new
    # one.
    caching = given.pop("enable-prefix-caching", False) is True
    if given.pop("no-enable-prefix-caching", False) is True:
        caching = False
    options["enable-prefix-caching" if caching else "no-enable-prefix-caching"] = True
    return options | given


def _throughput(model: Model, workload: Workload, prepared: Prepared, engine: Options) -> list[str]:
    listed = _listed(prepared, "help_throughput")
    # Both names exist from 0.14 on, and then the plain one is not the one that the random dataset reads.
    own = "random-" if "--random-input-len" in listed or "--input-len" not in listed else ""
    bench: Options = {
        "model": inside(model),
        "backend": "vllm",
        "dataset-name": "random",
        f"{own}input-len": workload.input_tokens,
        f"{own}output-len": workload.output_tokens,
        "num-prompts": workload.requests,
    }
    if "--num-warmups" in listed:
        bench["num-warmups"] = workload.warmup_requests
    bench |= {"seed": workload.seed, "output-json": f"{OUTPUT}/report.json"}
    return ["vllm", "bench", "throughput", *_argv(bench | engine)]


def _serve(model: Model, workload: Workload, prepared: Prepared, engine: Options) -> list[str]:
    where, listed = inside(model), _listed(prepared, "help_serve")
    server: Options = {"served-model-name": identity(model), "host": "127.0.0.1", "port": PORT, "seed": workload.seed}
    bench: Options = {
        "base-url": f"http://127.0.0.1:{PORT}",
        "endpoint": "/v1/completions",
        "model": identity(model),
        "tokenizer": where,
        "dataset-name": "random",
        "random-input-len": workload.input_tokens,
        "random-output-len": workload.output_tokens,
        "num-prompts": workload.requests,
        "request-rate": "inf",
        "max-concurrency": _concurrency(model, workload),
        "ignore-eos": True,
        "temperature": 0,  # greedy: later versions leave it to the server, and the two arms' answers are compared
        "seed": workload.seed,
        "percentile-metrics": "ttft,tpot,itl,e2el",
        "metric-percentiles": "50,95,99",
        "save-result": True,
        "save-detailed": True,
        "result-dir": OUTPUT,
        "result-filename": "report.json",
        "ready-check-timeout-sec": READY_S,
    }
    if "--num-warmups" in listed:
        bench["num-warmups"] = workload.warmup_requests
    serve = ["vllm", "serve", where, *_argv(server | engine)]
    return [
        "bash",
        "-c",
        SERVE.format(server=shlex.join(serve), bench=shlex.join(["vllm", "bench", "serve", *_argv(bench)])),
    ]


def _argv(options: Options) -> Iterator[str]:
    for name, value in options.items():
        if value is False or value is None:
            continue
        yield f"--{name}"
        if isinstance(value, dict):
            yield json.dumps(value)
        elif isinstance(value, list | tuple):
            yield from map(str, value)
        elif value is not True:
            yield str(value)


def _concurrency(model: Model, workload: Workload) -> int:
    """As stated; else the batch size, or one request at a time where latency is asked for."""
    return workload.concurrency or (model.batch_size if workload.kind == "throughput" else 1)


def _context(workload: Workload) -> int:
    """Room for one request, and for the few tokens that encoding a random prompt again may add."""
    return workload.input_tokens + workload.output_tokens + 64


def _listed(prepared: Prepared, role: str) -> frozenset[str]:
    return frozenset(re.findall(r"--[a-z][\w-]*", str(prepared.facts.get(role, COMMON[role]))))
