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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from actors.engines import CACHE, KERNEL_CACHES, OUTPUT, EngineError, Keys, Ways
from actors.engines.common import weights
from actors.engines.common.dataset import dataset_file, write_dataset
from actors.engines.common.failures import report_missing
from actors.engines.common.report_files import report_or_log
from actors.engines.common.requests import write_requests
from actors.engines.common.timestamped_log import log_text
from actors.engines.trtllm.checks import check_complete, mismatches
from actors.engines.trtllm.figures import metrics, request_rows, tokens_generated
from actors.engines.trtllm.log import read_log
from actors.engines.trtllm.options import (
    INPUT,
    backend_of,
    backend_options,
    batch_of,
    concurrency_of,
    identity,
    listed_options,
    llm_options,
    max_num_tokens_of,
    needs_build,
)
from actors.engines.trtllm.report import ReportError, read_report, read_requests
from actors.files.publish import publish
from actors.types import Launch, Model, Mount, Prepared, Report, Workload

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

UNSUPPORTED = {
    "GemmaForCausalLM": "first-generation Gemma is in no version of the PyTorch backend; set `backend: tensorrt` (up "
    "to 1.2) or take Gemma 3",
}
"""Architectures that the PyTorch backend cannot load, with what to do."""

AUTOAWQ = {"awq", "gptq"}
"""Quantisation methods of Hugging Face checkpoints that the PyTorch backend does not read; ModelOpt exports it does."""


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
        if backend_of(model) == "tensorrt":
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
        listed = listed_options(prepared)
        batch, concurrency = batch_of(model, workload), concurrency_of(model, workload)
        argv = ["trtllm-bench", "--model", identity(model), "--model_path", f"{INPUT}/weights"]
        argv += ["--workspace", f"{OUTPUT}/workspace", "--log_level", "info", "throughput"]
        argv += backend_options(model, prepared)
        argv += ["--dataset", f"{INPUT}/dataset.jsonl", "--num_requests", str(workload.requests)]
        argv += ["--warmup", str(workload.warmup_requests), "--concurrency", str(concurrency)]
        argv += ["--max_batch_size", str(batch), "--max_num_tokens", str(max_num_tokens_of(model, workload))]
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
            tokens_generated=tokens_generated(report),
            failure="; ".join(f"{name}: {what}" for name, what in wrong) or None,
            engine_version=report.engine.version,
        )


_INSIDE = {"weights": "weights", "dataset": "dataset.jsonl", "llm_options": "llm.yml", "engine": "engine"}


def _cannot_run(model: Model, checkpoint: weights.Checkpoint) -> str | None:
    """Why the weights are none for this engine; None where they are."""
    if backend_of(model) == "pytorch" and checkpoint.architecture in UNSUPPORTED:
        return f"{checkpoint.architecture}: {UNSUPPORTED[checkpoint.architecture]}"
    if backend_of(model) == "pytorch" and checkpoint.quantization in AUTOAWQ:
        return (
            f"the PyTorch backend reads no {checkpoint.quantization} checkpoint; take "
            "a ModelOpt export (hf_quant_config.json: NVFP4, FP8, W4A16_AWQ) or the vllm engine"
        )
    if checkpoint.vocabulary is not None and checkpoint.vocabulary < TOKEN_IDS.stop:
        return f"a vocabulary of {checkpoint.vocabulary} does not hold the dataset's token ids (below {TOKEN_IDS.stop})"
    return None


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
    limits = ("--max_batch_size", str(model.batch_size), "--max_num_tokens", str(max_num_tokens_of(model, workload)))
    longest = ("--max_seq_len", str(workload.input_tokens + workload.output_tokens))
    return Launch(
        argv=(*argv, "--tp_size", "1", *limits, *longest),
        variables={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        mounts=(Mount(source=prepared.files["weights"], target=f"{INPUT}/weights"),),
        workdir=OUTPUT,
    )
