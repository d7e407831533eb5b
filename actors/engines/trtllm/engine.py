"""TensorRT-LLM by its own benchmark, ``trtllm-bench``: what to run, and what its report and log say.

The primary measurement does not stream, because streaming costs a message per token. A ``latency`` workload is a run of
its own, ``throughput --streaming`` with as many requests in flight as it says. The subcommand ``latency`` is not used:
it sizes itself by what NVML says of the device's memory, which a GB10 does not tell,
and takes neither limits nor ``--request_json``.

Names of options differ between versions, so they are chosen by what ``--help`` lists (:data:`PROBES`, kept in
``Prepared.facts``), never by a version string. Source: ``tensorrt_llm/bench`` and the published CLI references of 1.0
to 1.2.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from actors.engines import CACHE, KERNEL_CACHES, OUTPUT, EngineError, Keys, Ways
from actors.engines.common import weights
from actors.engines.common.dataset import dataset_file, write_dataset
from actors.engines.common.failures import report_missing
from actors.engines.common.report_files import report_or_log
from actors.engines.common.requests import answer_digest, write_requests
from actors.engines.common.timestamped_log import log_text
from actors.engines.trtllm.log import Log, read_log
from actors.engines.trtllm.report import (
    BenchReport,
    ReportError,
    RequestRecord,
    finite,
    nearest_rank,
    read_report,
    read_requests,
    unknown_keys,
)
from actors.files.publish import publish
from actors.types import Launch, Metric, Model, Mount, Prepared, Report, Workload

INPUT = "/campaign/input"
"""Where every arm sees weights, dataset and settings, read-only."""

TOKEN_IDS = range(1000, 32000)
"""Prompts are drawn from ids that every tokenizer of the study has and none uses for a special token or a lone byte,
so that all models and all arms read one file."""

PROBES: dict[str, tuple[tuple[str, ...], ...]] = {
    # The group wants --model before it shows a subcommand's help.
    "help_throughput": (("trtllm-bench", "--model", "probe/probe", "throughput", "--help"),),
}
"""Fact of ``Prepared`` to the ways to ask an image for it, once per image."""

CACHE_VARIABLES = KERNEL_CACHES | {
    "TLLM_AUTOTUNER_CACHE_PATH": f"{CACHE}/trtllm_autotuner.json",
}
"""Its own: TensorRT-LLM's autotuner (which tactic each layer takes, and so the speed)."""

LAST_WITH_TENSORRT = "1.2.1"
"""The last release whose ``trtllm-bench`` runs built TensorRT engines."""

COMMON = {
    # What every release from 1.0 to 1.2 lists: assumed where nobody could ask the image.
    "help_throughput": "--backend --engine_dir --dataset --num_requests --warmup --concurrency --streaming "
    "--max_batch_size --max_num_tokens --kv_cache_free_gpu_mem_fraction --tp "
    "--extra_llm_api_options --report_json --request_json",
}

UNSUPPORTED = {
    "GemmaForCausalLM": "first-generation Gemma is in no version of the PyTorch backend; set `backend: tensorrt` (up "
    "to 1.2) or take Gemma 3",
}
"""Architectures that the PyTorch backend cannot load, with what to do."""

AUTOAWQ = {"awq", "gptq"}
"""Quantisation methods of Hugging Face checkpoints that the PyTorch backend does not read; ModelOpt exports it does."""

GIB = 2**30


class TrtLlm:
    name = "trtllm"
    title = "TensorRT-LLM"
    needs_gpu = True

    @property
    def probes(self) -> Mapping[str, Ways]:
        return PROBES

    @property
    def cache_variables(self) -> Mapping[str, str]:
        return CACHE_VARIABLES

    def reads_checkpoint(self, model: Model) -> bool:
        return model.huggingface_id is not None

    def built(self, model: Model, cache: Path) -> Path | None:
        return engine_folder(model, cache) if needs_build(model) else None

    def build(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        return build_command(model, workload, prepared)

    def find_built(self, output: Path) -> Path | None:
        found = (place.parent for place in output.rglob("config.json"))
        return next((folder for folder in found if any(folder.glob("*.engine"))), None)

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Find the weights, refuse what cannot run, write dataset and settings. Nothing is downloaded."""
        folder = weights.locate(model, cache)
        checkpoint = weights.inspect(folder)
        weights.agree(model, checkpoint)
        if (why := _cannot_run(model, checkpoint)) is not None:
            raise EngineError(f"model '{model.name}': {why}")
        dataset, dataset_digest = write_dataset(cache / "datasets", workload, TOKEN_IDS)
        files = {"weights": str(folder), "dataset": str(dataset)}
        digests = {"weights": weights.digest(folder, cache), "dataset": dataset_digest}
        if settings := llm_options(model):
            text = yaml.safe_dump(settings, sort_keys=True)
            digests["llm_options"] = hashlib.sha256(text.encode()).hexdigest()
            files["llm_options"] = str(_write_options(model, text, cache))
        if _backend(model) == "tensorrt":
            engine = engine_folder(model, cache)
            if not (engine / "config.json").is_file():
                raise EngineError(
                    f"model '{model.name}': no built engine in {engine}; build it with `campaign prepare`"
                )
            files["engine"] = str(engine)
            digests["engine"] = weights.digest(engine, cache)
        facts: dict[str, float | int | str] = {
            "model_identity": identity(model),
            "architecture": checkpoint.architecture,
            "weight_bytes": checkpoint.weight_bytes,
        }
        if checkpoint.kv_bytes_per_token is not None:
            facts["kv_bytes_per_token"] = checkpoint.kv_bytes_per_token
        if checkpoint.quantization is not None:
            facts["quantization"] = checkpoint.quantization
        return Prepared(files=files, digests=digests, facts=facts)

    def expect(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Where :meth:`prepare` will have put things; nothing is read or written."""
        files = {
            "weights": str(weights.place(model, cache)),
            "dataset": str(dataset_file(cache / "datasets", workload, TOKEN_IDS)),
        }
        if settings := llm_options(model):
            files["llm_options"] = str(_options_file(model, yaml.safe_dump(settings, sort_keys=True), cache))
        if needs_build(model):
            files["engine"] = str(engine_folder(model, cache))
        return Prepared(files=files)

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        """The benchmark's argv. Global options stand before the subcommand; concurrency is always stated, because its
        default submits every request at once and turns latency into queue time."""
        listed = _listed(prepared)
        batch, concurrency = batch_of(model, workload), _concurrency(model, workload)
        argv = ["trtllm-bench", "--model", identity(model), "--model_path", f"{INPUT}/weights"]
        argv += ["--workspace", f"{OUTPUT}/workspace", "--log_level", "info", "throughput"]
        argv += _backend_options(model, prepared)
        argv += ["--dataset", f"{INPUT}/dataset.jsonl", "--num_requests", str(workload.requests)]
        argv += ["--warmup", str(workload.warmup_requests), "--concurrency", str(concurrency)]
        argv += ["--max_batch_size", str(batch), "--max_num_tokens", str(_max_num_tokens(model, workload))]
        argv += ["--kv_cache_free_gpu_mem_fraction", f"{model.kv_cache_fraction:g}"]
        if "--tp" in listed:
            argv += ["--tp", "1"]
        if workload.kind == "latency":
            argv.append("--streaming")
        argv += ["--report_json", f"{OUTPUT}/report.json"]
        if "--request_json" in listed:
            argv += ["--request_json", f"{OUTPUT}/requests.json"]
        if "llm_options" in prepared.files:
            option = next((name for name in ("--extra_llm_api_options", "--config") if name in listed), None)
            if option is None:
                raise EngineError(
                    f"model '{model.name}' has engine options, but `trtllm-bench throughput --help` lists neither "
                    "--extra_llm_api_options nor --config",
                    "Take another version of the image, or remove engine_options and kv_cache_tokens of the model.",
                )
            argv += [option, f"{INPUT}/llm.yml"]
        return Launch(
            argv=tuple(argv),
            # Nothing may be fetched while a run is measured: what is not in place must fail, the same in both arms.
            variables={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
            mounts=tuple(
                Mount(source=prepared.files[role], target=f"{INPUT}/{name}")
                for role, name in _INSIDE.items()
                if role in prepared.files
            ),
            workdir=OUTPUT,  # holds no folder by the model's name, which the program would take for a checkpoint
        )

    def parse_file(self, report: Path, log: Path | None, requests: Path | None, keys: Keys) -> dict[str, Any]:
        from actors.engines.trtllm.file import parse_file

        return parse_file(*report_or_log(report, log), requests, keys)

    def texts(self, output: Path) -> tuple[str, ...] | None:
        """The answers of an attempt, or None where it kept none:
        the benchmark decodes tokens only where it is told to."""
        try:
            records = read_requests(output / "requests.json")
        except ReportError:
            return None
        kept = tuple(record.output for record in records if isinstance(record.output, str) and record.output)
        return kept or None

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        """The attempt's figures. No report is a failure whatever the exit code: Ctrl-C is caught and exits with 0."""
        log = read_log(*(log_text(output.parent / name) for name in ("stdout.log", "stderr.log")))
        asked = workload.requests * workload.output_tokens
        try:
            report = read_report(output / "report.json")
            records = read_requests(output / "requests.json") if (output / "requests.json").exists() else ()
            check_complete(report, records, log, streaming=workload.kind == "latency")
            if records:
                write_requests(output.parent / "requests.parquet", request_rows(records))
        except EngineError as error:
            written = (output / "report.json").exists()
            failure = f"report_invalid: {error}" if written else str(report_missing(log.lines, "--report_json"))
            if log.failure is not None:
                failure = f"{log.failure} ({error})" if written else str(log.failure)
            return Report(
                metrics=metrics(None, (), log, reason=failure.split(":")[0]),
                requests_expected=workload.requests,
                tokens_expected=asked,
                failure=failure,
                engine_version=log.version,
            )
        answered = (
            sum(1 for record in records if not record.error_tokens) if records else report.request_info.num_requests
        )
        wrong = list(mismatches(report, log, model, workload, prepared))
        other = any(name == "model_identity" for name, _ in wrong)
        return Report(
            metrics=metrics(report, records, log),
            model_identity=f"{report.engine.model} (another model under its name)" if other else report.engine.model,
            requests_expected=workload.requests,
            requests_answered=answered,
            requests_failed=len(records) - answered if records else 0,
            tokens_expected=asked,
            tokens_generated=_tokens(report),
            failure="; ".join(f"{name}: {what}" for name, what in wrong) or None,
            engine_version=report.engine.version,
        )


_INSIDE = {"weights": "weights", "dataset": "dataset.jsonl", "llm_options": "llm.yml", "engine": "engine"}


def _cannot_run(model: Model, checkpoint: weights.Checkpoint) -> str | None:
    """Why the weights are none for this engine; None where they are."""
    if _backend(model) == "pytorch" and checkpoint.architecture in UNSUPPORTED:
        return f"{checkpoint.architecture}: {UNSUPPORTED[checkpoint.architecture]}"
    if _backend(model) == "pytorch" and checkpoint.quantization in AUTOAWQ:
        return (
            f"the PyTorch backend reads no {checkpoint.quantization} checkpoint; take "
            "a ModelOpt export (hf_quant_config.json: NVFP4, FP8, W4A16_AWQ) or the vllm engine"
        )
    if checkpoint.vocabulary is not None and checkpoint.vocabulary < TOKEN_IDS.stop:
        return f"a vocabulary of {checkpoint.vocabulary} does not hold the dataset's token ids (below {TOKEN_IDS.stop})"
    return None


def identity(model: Model) -> str:
    """What the engine is told to call the model, and must report."""
    return model.huggingface_id or f"local/{model.name}"


def llm_options(model: Model) -> dict[str, Any]:
    """The engine's YAML, or nothing. It replaces ``kv_cache_config`` as a whole through 1.2, and with it the fraction
    of the command line and the benchmark's ``enable_block_reuse: false``, so all of it is written whenever any is."""
    options = model.engine_options.get("trtllm", {})
    if not options and model.kv_cache_tokens is None:
        return {}
    kv_cache = {"free_gpu_memory_fraction": model.kv_cache_fraction, "enable_block_reuse": False, "dtype": "auto"}
    if model.kv_cache_tokens is not None:
        kv_cache["max_tokens"] = model.kv_cache_tokens
    return {**options, "kv_cache_config": {**kv_cache, **options.get("kv_cache_config", {})}}


def _options_file(model: Model, text: str, cache: Path) -> Path:
    return cache / "trtllm" / f"{model.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.yml"


def _write_options(model: Model, text: str, cache: Path) -> Path:
    path = _options_file(model, text, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        with publish(path) as partial:
            partial.write_text(text)
    return path


def engine_folder(model: Model, cache: Path) -> Path:
    """Where the built engine of a ``backend: tensorrt`` model lies."""
    return cache / "trtllm" / "engines" / model.name


def needs_build(model: Model) -> bool:
    return _backend(model) == "tensorrt"


def build_command(model: Model, workload: Workload, prepared: Prepared) -> Launch:
    """Build the engine of a ``backend: tensorrt`` model below ``OUTPUT``; the PyTorch backend needs none."""
    argv = (
        "trtllm-bench",
        "--model",
        identity(model),
        "--model_path",
        f"{INPUT}/weights",
        "--workspace",
        OUTPUT,
        "build",
    )
    limits = ("--max_batch_size", str(model.batch_size), "--max_num_tokens", str(_max_num_tokens(model, workload)))
    longest = ("--max_seq_len", str(workload.input_tokens + workload.output_tokens))
    return Launch(
        argv=(*argv, "--tp_size", "1", *limits, *longest),
        variables={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        mounts=(Mount(source=prepared.files["weights"], target=f"{INPUT}/weights"),),
        workdir=OUTPUT,
    )


def mismatches(
    report: BenchReport, log: Log, model: Model, workload: Workload, prepared: Prepared
) -> Iterator[tuple[str, str]]:
    """Named differences between what was asked and what ran."""
    yield from _other_model(report, log, model, prepared)
    if log.version is not None and log.version != report.engine.version:
        yield "report_stale", f"the report is of version {report.engine.version}, the log of {log.version}"
    info, world = report.request_info, report.world_info
    if not math.isclose(info.avg_input_length, workload.input_tokens, rel_tol=1e-6):
        yield "workload_mismatch", f"{info.avg_input_length:g} input tokens per request, not {workload.input_tokens}"
    if world.max_batch_size != batch_of(model, workload):
        yield "configuration_mismatch", f"ran with a batch of {world.max_batch_size}, not {batch_of(model, workload)}"
    fraction = world.kv_cache_fraction
    if fraction is not None and not math.isclose(fraction, fraction_asked(model), rel_tol=1e-5):
        yield "configuration_mismatch", f"ran with a KV fraction of {fraction:g}, not {fraction_asked(model):g}"


def _other_model(report: BenchReport, log: Log, model: Model, prepared: Prepared) -> Iterator[tuple[str, str]]:
    """``engine.model`` only echoes the command line, so the model is also recognised by what it weighs: bytes of KV
    cache per token and bytes of weights, as the engine measured them."""
    if report.engine.model != identity(model):
        yield "model_identity", f"asked for {identity(model)}, the engine ran {report.engine.model}"
    # On the bare host the mounts' targets are their sources.
    if report.engine.model_path not in ("None", f"{INPUT}/weights", prepared.files.get("weights")):
        yield "model_identity", f"the engine read {report.engine.model_path}, not {INPUT}/weights"
    kv_bytes = model.kv_bytes_per_token or prepared.facts.get("kv_bytes_per_token")
    if log.kv_bytes_per_token and isinstance(kv_bytes, int):
        ratio = log.kv_bytes_per_token / kv_bytes
        if not any(math.isclose(ratio, known, rel_tol=1e-3) for known in (0.5, 1.0, 2.0)):  # 8- or 16-bit cache
            yield "model_identity", f"{log.kv_bytes_per_token:g} bytes of KV cache per token, the model has {kv_bytes}"
    if log.weights_gb and model.weight_bytes:
        ratio = log.weights_gb / (model.weight_bytes / GIB)  # the log says GB and counts GiB
        if not 0.67 <= ratio <= 1.5:
            yield "model_identity", f"{log.weights_gb:g} GiB of weights, the model has {model.weight_bytes / GIB:.2f}"


def notes(report: BenchReport, records: tuple[RequestRecord, ...], log: Log) -> tuple[str, ...]:
    """What a reader of the figures should know and no failure says."""
    said = list(log.notes)
    if unknown := unknown_keys(report):
        said.append(f"keys that no version read has, ignored: {', '.join(unknown)}")
    in_flight, batch = report.request_info.avg_num_concurrent_requests, report.world_info.max_batch_size
    if in_flight > 1.5 * batch:
        said.append(
            f"latency is mostly queue time: {in_flight:.0f} requests in flight on average for a batch of {batch}"
        )
    if report.request_info.num_requests <= 20:
        said.append("with so few requests the nearest-rank P95 and P99 are the maximum")
    elif report.request_info.num_requests <= 100:
        said.append("with so few requests the nearest-rank P99 is the maximum")
    if records:
        if len(records) != report.request_info.num_requests:
            said.append(f"{len(records)} request records, the report counts {report.request_info.num_requests}")
        else:
            own = nearest_rank([record.latency_ms for record in records], 0.95)
            theirs = report.performance.request_latency_percentiles_ms.p95
            if not math.isclose(own, theirs, rel_tol=1e-6):
                said.append(f"P95 latency is {own:g} ms by the request records and {theirs:g} ms by the report")
    if log.version is not None and log.version != report.engine.version:
        said.append(f"the log is of version {log.version}, the report of {report.engine.version}")
    residual = log.memory_identity_gib
    if residual is not None and abs(residual) < 0.1:
        said.append("peak memory and KV cache are one observation: peak + KV / fraction − trial is the device total")
    return tuple(said)


def metrics(
    report: BenchReport | None, records: tuple[RequestRecord, ...], log: Log, reason: str = "no report"
) -> tuple[Metric, ...]:
    """Every figure under the project's name. Missing ones say why;
    a NaN or Infinity that the program wrote is missing."""
    return tuple(
        Metric(
            name=name,
            value=finite(value),
            unit_of_measure=unit,
            source=source,
            reason=None
            if finite(value) is not None
            else why
            if value is None
            else "the program wrote no finite number",
        )
        for name, value, unit, source, why in (*_served(report, records, reason), *_from_log(report, log, reason))
    )


def request_rows(records: tuple[RequestRecord, ...]) -> Iterator[dict[str, Any]]:
    """Rows of ``requests.parquet`` in order of submission."""
    begin = records[0].start_timestamp
    for index, record in enumerate(records):
        yield {
            "request_index": index,
            "submitted_ms": (record.start_timestamp - begin) / 1e6,
            "ttft_ms": record.ttft_ms,
            "latency_ms": record.latency_ms,
            "input_tokens": record.num_input_tokens,
            "output_tokens": record.num_total_output_tokens,
            "ok": record.error_tokens == 0,
            "error": f"{record.error_tokens} error tokens" if record.error_tokens else None,
            "itl_ms": None,
            "answer_sha256": answer_digest(record.output) if isinstance(record.output, str) else None,
        }


Figure = tuple[str, float | None, str, str, str]
"""Name, value, unit, source, reason where it is missing."""

PER_REQUEST = (
    "trtllm-bench keeps no time per token: a request's mean is its TPOT (tpot_*), whose percentiles run over requests"
)
NOT_STREAMED = "the engine did not stream"


def _served(report: BenchReport | None, records: tuple[RequestRecord, ...], reason: str) -> Iterator[Figure]:
    """Figures of the report."""

    def figure(name: str, path: str, unit: str, missing: str = reason) -> Figure:
        value: Any = report
        for key in path.split("."):
            value = getattr(value, key) if value is not None else None
        nearest = " (nearest rank)" if re.fullmatch(r"p\d+", path.rpartition(".")[2]) else ""
        return name, value, unit, f"report.json: {path}{nearest}", missing

    silent = NOT_STREAMED if report else reason
    yield figure("token_throughput_tok_s", "performance.system_output_throughput_tok_s", "tok/s")
    yield figure("total_token_throughput_tok_s", "performance.system_total_throughput_tok_s", "tok/s")
    yield figure("request_throughput_req_s", "performance.request_throughput_req_s", "req/s")
    yield figure("latency_mean_ms", "performance.avg_request_latency_ms", "ms")
    for name, key in (
        ("min", "minimum"),
        ("p50", "p50"),
        ("p90", "p90"),
        ("p95", "p95"),
        ("p99", "p99"),
        ("max", "maximum"),
    ):
        missing = "this version reports no P90" if report and key == "p90" else reason
        yield figure(f"latency_{name}_ms", f"performance.request_latency_percentiles_ms.{key}", "ms", missing)
    for kind in ("ttft", "tpot"):
        yield figure(f"{kind}_mean_ms", f"streaming_metrics.avg_{kind}_ms", "ms", silent)
        for name in ("p50", "p90", "p95", "p99"):
            yield figure(f"{kind}_{name}_ms", f"streaming_metrics.{kind}_percentiles.{name}", "ms", silent)
    yield _itl_mean(report, silent)
    streamed = report is not None and report.streaming_metrics is not None
    for name in ("p50", "p95", "p99"):
        yield f"itl_{name}_ms", None, "ms", "report.json", PER_REQUEST if streamed else silent
    yield figure("concurrency_mean", "request_info.avg_num_concurrent_requests", "1")
    no_counter = "this version or device reports no energy" if report else reason
    yield figure("engine_energy_j", "energy.total_energy_j", "J", no_counter)
    yield figure("engine_power_mean_w", "energy.average_gpu_power", "W", no_counter)
    steady = report.performance.total_latency_ms / 1e3 if report else None
    yield "steady_s", steady, "s", "report.json: performance.total_latency_ms", reason
    arrivals = [record.ttft_ms + record.start_timestamp / 1e6 for record in records if record.ttft_ms is not None]
    begin = min((record.start_timestamp for record in records), default=0) / 1e6
    first = (min(arrivals) - begin) / 1e3 if arrivals else None
    yield "first_token_s", first, "s", "requests.json", silent if not streamed else "no request records"


def _itl_mean(report: BenchReport | None, silent: str) -> Figure:
    """The mean over requests of their mean gaps is the mean gap only where all outputs are equally long."""
    name, unit, source = "itl_mean_ms", "ms", "report.json: streaming_metrics.avg_tpot_ms"
    if report is None or report.streaming_metrics is None:
        return name, None, unit, source, silent
    if report.decoding_stats is not None:
        return name, None, unit, source, "with speculative decoding a message brings several tokens; see tpot_*"
    lengths = report.dataset.osl_stats
    if lengths.minimum != lengths.maximum:
        return name, None, unit, source, PER_REQUEST
    return name, report.streaming_metrics.avg_tpot_ms, unit, source, silent


def _from_log(report: BenchReport | None, log: Log, reason: str) -> Iterator[Figure]:
    """Figures that only the log has, and the terms of the identity that ties peak memory to KV cache."""
    silent = "the log has no such line"
    profiled = silent
    if report is not None and report.engine.backend == "TRT":
        profiled = "the TensorRT backend does not profile its peak"
    yield (
        "peak_memory_gib",
        log.peak_gib,
        "GiB",
        "log: peak during memory usage profiling, torch and non-torch",
        profiled,
    )
    yield ("kv_cache_gib", log.kv_cache_gib, "GiB", log.kv_cache_source, log.kv_cache_source)
    yield ("kv_cache_tokens", log.kv_cache_tokens, "tokens", log.kv_cache_source, log.kv_cache_source)
    yield ("kv_bytes_per_token", log.kv_bytes_per_token, "B", "log: kv size", silent)
    yield ("kv_estimation_gib", log.kv_estimation_gib, "GiB", "log: first of the KV cache allocations", silent)
    yield ("kv_available_gib", log.available_gib, "GiB", "log: available KV cache memory", silent)
    fraction = log.free_fraction
    if fraction is None and report is not None:
        fraction = report.world_info.kv_cache_fraction
    yield ("kv_free_fraction", fraction, "1", "log: fraction is set, else world_info.kv_cache_percentage", silent)
    yield ("device_total_gib", log.device_total_gib, "GiB", "log: device total memory", silent)
    yield ("memory_identity_gib", log.memory_identity_gib, "GiB", "peak + KV / fraction − trial − device total", silent)
    yield (
        "outside_torch_gib",
        log.outside_torch_gib,
        "GiB",
        "log: memory outside torch after loading the weights",
        silent,
    )
    rates = report.decoding_stats.draft_acceptance_rate_percentiles if report and report.decoding_stats else None
    yield (
        "draft_acceptance_pct",
        100 * rates.average if rates is not None else None,
        "%",
        "report.json: decoding_stats.draft_acceptance_rate_percentiles.average",
        "nothing was drafted: no speculative decoding" if report is not None else reason,
    )
    yield ("prefix_cache_hit_pct", None, "%", "log", "trtllm-bench switches the reuse of KV blocks off")
    yield ("weights_gib", log.weights_gb, "GiB", "log: for model weights (it says GB and counts GiB)", silent)
    yield ("model_init_s", log.model_init_s, "s", "log: Model init total", silent)
    yield ("load_s", log.load_s, "s", "log: first line until requests are taken", silent)
    yield ("warmup_s", log.warmup_s, "s", "log: until the measured requests start", silent)


def check_complete(report: BenchReport, records: tuple[RequestRecord, ...], log: Log, *, streaming: bool) -> None:
    """What the report alone cannot tell to be missing."""
    if report.streaming_metrics is None and (streaming or log.streamed):
        raise ReportError("report.json: key 'streaming_metrics' is missing; the run streamed", "streaming_metrics")
    if records and len(records) != report.request_info.num_requests:
        raise ReportError(
            f"requests.json: {len(records)} records, request_info.num_requests is {report.request_info.num_requests}",
            "request_info.num_requests",
        )


def _tokens(report: BenchReport) -> int | None:
    generated = report.request_info.avg_output_length * report.request_info.num_requests
    return round(generated) if math.isfinite(generated) else None


def _backend(model: Model) -> str:
    backend = model.backend or "pytorch"
    if backend not in ("pytorch", "tensorrt"):
        raise EngineError(f"model '{model.name}': backend '{backend}' is none of trtllm's; write pytorch or tensorrt")
    return backend


def _help(prepared: Prepared) -> str:
    return str(prepared.facts.get("help_throughput", COMMON["help_throughput"]))


def _listed(prepared: Prepared) -> frozenset[str]:
    """Options that the image's own help lists."""
    return frozenset(re.findall(r"--[a-z][\w-]*", _help(prepared)))


def _choices(prepared: Prepared, option: str) -> tuple[str, ...]:
    """What the help says an option may be, as click writes it: ``[pytorch|_autodeploy]``;
    empty where it does not say."""
    match = re.search(rf"{option}\s+\[([^\]]+)\]", _help(prepared))
    return tuple(choice.strip() for choice in match[1].split("|")) if match else ()


def _backend_options(model: Model, prepared: Prepared) -> list[str]:
    """``--backend``, and the built engine. Refused where this image's program does not have the backend.

    Late 1.3 still lists ``--engine_dir``, but no TensorRT backend that could run one. Before 1.0, recognised by the
    absence of ``--request_json``, TensorRT was what ran without a ``--backend``.
    """
    backend, listed, choices = _backend(model), _listed(prepared), _choices(prepared, "--backend")
    before_1_0 = "--request_json" not in listed and "--engine_dir" in listed
    if backend == "tensorrt":
        implied = before_1_0 and "tensorrt" not in choices
        if "--engine_dir" not in listed or (choices and "tensorrt" not in choices and not implied):
            offered = f"--backend takes {', '.join(choices)}" if choices else "there is no --engine_dir"
            raise EngineError(
                f"model '{model.name}' needs the TensorRT backend, "
                f"which this image's trtllm-bench has no more ({offered})",
                f"Take an image up to {LAST_WITH_TENSORRT}, the last release that has it "
                f"(nvcr.io/nvidia/tensorrt-llm/release:{LAST_WITH_TENSORRT}), a model of a newer architecture, "
                "or the vllm engine.",
            )
        if implied:
            return ["--engine_dir", f"{INPUT}/engine"]
        return ["--engine_dir", f"{INPUT}/engine", "--backend", "tensorrt"]
    if choices and backend not in choices:
        raise EngineError(
            f"model '{model.name}': this image's trtllm-bench has no backend "
            f"{backend} (--backend takes {', '.join(choices)})",
            "Take an image of 1.0 or later.",
        )
    return ["--backend", backend] if "--backend" in listed else []


def _concurrency(model: Model, workload: Workload) -> int:
    """As stated; else the batch size, or one request at a time where latency is asked for."""
    return workload.concurrency or (model.batch_size if workload.kind == "throughput" else 1)


def batch_of(model: Model, workload: Workload) -> int:
    """Sequences decoded together: one where latency is measured one request at a time."""
    return 1 if workload.kind == "latency" and _concurrency(model, workload) == 1 else model.batch_size


def _max_num_tokens(model: Model, workload: Workload) -> int:
    """Both limits must be given, or the engine takes the pair from heuristics; a prompt must fit into a step."""
    return model.max_num_tokens or max(4096, workload.input_tokens + model.batch_size)


def fraction_asked(model: Model) -> float:
    options = llm_options(model).get("kv_cache_config", {})
    return float(options.get("free_gpu_memory_fraction", model.kv_cache_fraction))
