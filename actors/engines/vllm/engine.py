"""vLLM by its own benchmarks: ``vllm bench throughput`` (primary), and ``vllm bench serve`` against a server started
beside it where latency is asked for.

Prompts are vLLM's own random dataset from the workload's seed, not the shared dataset file: no version reads token ids
from a file. Source: ``vllm/benchmarks`` of 0.11 to 0.33.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.engines import CACHE, KERNEL_CACHES, OUTPUT, BuildsNothing, EngineError, Keys, Ways
from actors.engines.common import weights
from actors.engines.common.failures import report_missing
from actors.engines.common.report_files import refuse_reference, report_or_log
from actors.engines.common.requests import write_requests
from actors.engines.common.timestamped_log import log_text
from actors.engines.trtllm.report import ReportError
from actors.engines.vllm import dummy_checkpoint
from actors.engines.vllm.checks import check_times, mismatches, model_that_ran, none_answered
from actors.engines.vllm.figures import metrics
from actors.engines.vllm.file import parse_report_file
from actors.engines.vllm.options import engine_options, identity, inside, serve_argv, throughput_argv
from actors.engines.vllm.report import ServeReport, ThroughputReport, read_log, read_report, request_rows
from actors.types import Launch, Model, Mount, Prepared, RandomWeights, Report, Workload

PROBES: dict[str, tuple[tuple[str, ...], ...]] = {
    # Plain --help lists groups of options only, from about 0.11 on; versions before do not understand `=all`.
    "help_throughput": tuple(("vllm", "bench", "throughput", way) for way in ("--help=all", "--help")),
    "help_serve": tuple(("vllm", "bench", "serve", way) for way in ("--help=all", "--help")),
}
"""Fact of ``Prepared`` to the ways to ask an image for it, once per image."""

CACHE_VARIABLES = KERNEL_CACHES | {
    "VLLM_CACHE_ROOT": f"{CACHE}/vllm",
    "TILELANG_CACHE_DIR": f"{CACHE}/tilelang",
    "NUMBA_CACHE_DIR": f"{CACHE}/numba",
}
"""Its own: torch.compile's artefacts, TileLang, numba."""


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
        engine = engine_options(model, workload)
        if workload.kind == "throughput":
            argv = throughput_argv(model, workload, prepared, engine)
        else:
            argv = serve_argv(model, workload, prepared, engine)
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
                check_times(report, workload)
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
            model_identity=f"{model_that_ran(report, log)} (not the model asked for)" if other else identity(model),
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
