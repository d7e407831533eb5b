"""PyTorch with Hugging Face ``transformers``: continuous batching, random weights from a public architecture or a local checkpoint.

The program itself is ``transformers_bench.py``; it runs under the ``python3`` that the arm's PATH finds, which must have torch and
transformers. It is copied below the cache under the digest of its text, so that the command of a finished attempt still
means what it meant.

``engine_options: {transformers: {architecture: {…}, seed: 1, dtype: bfloat16, cuda_graphs: true}}``. ``architecture`` holds the keys
of the model's public ``config.json``; weights are then drawn on the device from the seed, at true size, and nothing is downloaded.
Without it the weights are a checkpoint (``path``, or ``models/<name>``).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.engines import OUTPUT, EngineError, weights
from actors.engines.dataset import write_dataset
from actors.engines.llamacpp_report import ModelPart, Unusable, agree, metrics, read, without_figures
from actors.engines.requests import write_requests
from actors.types import Launch, Metric, Model, Mount, Prepared, Report, Workload

INPUT = "/campaign/input"
"""Where every arm sees description or checkpoint, prompts and program, read-only."""
PROGRAM = Path(__file__).with_name("transformers_bench.py")
VARIABLES = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONDONTWRITEBYTECODE": "1"}
"""Nothing is fetched, and no arm may leave compiled files that another finds."""


class Options(BaseModel):
    """``engine_options: transformers``."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    architecture: dict[str, Any] | None = None
    seed: int = Field(default=1, ge=0)
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    cuda_graphs: bool = True


class BuiltPart(ModelPart):
    """``model`` of the report: what was built, counted from its tensors."""

    dtype: str
    layers: int = Field(ge=1)
    random: bool
    seed: int | None


class TorchPart(BaseModel):
    """``engine`` of the report, as far as llama.cpp's has no such keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    torch: str
    device: str
    device_name: str


class Transformers:
    name = "transformers"

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Description or checkpoint, prompts and program in place. Raises EngineError for what cannot be run."""
        options = _options(model)
        program, program_digest = _kept(cache / "programs", PROGRAM.stem, ".py", PROGRAM.read_bytes())
        if options.architecture is not None:
            shape = options.architecture
            vocabulary, name = _shape(model, workload, shape)
            text = json.dumps({"architecture": shape, "seed": options.seed}, indent=1, sort_keys=True).encode()
            source, digest = _kept(cache / "models", f"{model.name}-architecture", ".json", text)
            config_digest, random = digest, 1
        else:
            source = weights.locate(model, cache)
            checkpoint = weights.inspect(source)
            weights.agree(model, checkpoint)
            if checkpoint.vocabulary is None:
                raise EngineError(f"model '{model.name}': {source / 'config.json'} does not tell vocab_size")
            vocabulary, name = checkpoint.vocabulary, checkpoint.architecture
            digest = weights.digest(source, cache)
            config_digest, random = hashlib.sha256((source / "config.json").read_bytes()).hexdigest(), 0
        # The last ids of a vocabulary are special tokens or padding in every architecture of the study.
        dataset, dataset_digest = write_dataset(cache / "datasets", workload, range(max(1, vocabulary * 95 // 100)))
        facts: dict[str, float | int | str] = {"architecture": name, "config_sha256": config_digest, "random": random}
        if random:
            facts["seed"] = options.seed
        if model.parameters is not None:
            facts["parameters"] = model.parameters
        return Prepared(
            files={"weights": str(source), "dataset": str(dataset), "program": str(program)},
            digests={"weights": digest, "dataset": dataset_digest, "program": program_digest},
            facts=facts,
        )

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        options = _options(model)
        inside = {role: f"{INPUT}/{Path(path).name}" for role, path in prepared.files.items()}
        # One request at a time is what a latency workload means; otherwise as many as the model decodes together.
        concurrency = workload.concurrency or (1 if workload.kind == "latency" else model.batch_size)
        argv = (
            "python3",
            "-I",
            inside["program"],
            f"--{'description' if prepared.facts['random'] else 'checkpoint'}={inside['weights']}",
            f"--dataset={inside['dataset']}",
            f"--output={OUTPUT}",
            f"--requests={workload.requests}",
            f"--concurrency={concurrency}",
            f"--warmup-requests={workload.warmup_requests}",
            f"--dtype={options.dtype}",
            f"--cuda-graphs={'on' if options.cuda_graphs else 'off'}",
        )
        mounts = tuple(Mount(source=path, target=inside[role]) for role, path in prepared.files.items())
        return Launch(argv=argv, variables=VARIABLES, mounts=mounts)

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        try:
            report, lines = read(output)
            built, engine, memory_source = _own_parts(output)
            agree(report, lines, workload)
        except Unusable as unusable:
            named = _named(str(unusable), output)
            return without_figures(self.name, workload, named)
        write_requests(output.parent / "requests.parquet", (line.model_dump() for line in lines))
        wrong = _not_as_asked(built, model, prepared)
        return Report(
            metrics=tuple(_sourced(metric, memory_source) for metric in metrics(report, lines)),
            model_identity=built.name if wrong else model.name,
            requests_expected=workload.requests,
            requests_answered=report.requests.answered,
            requests_failed=report.requests.failed,
            tokens_expected=workload.requests * workload.output_tokens,
            tokens_generated=report.tokens.output,
            failure=f"model_identity: {'; '.join(wrong)}" if wrong else None,
            engine_version=f"transformers {report.engine.version}, torch {engine.torch} on {engine.device_name}",
        )


def _options(model: Model) -> Options:
    try:
        return Options.model_validate(model.engine_options.get("transformers", {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Options.model_fields)
        raise EngineError(
            f"model {model.name}: engine_options: transformers: {key}: {first['msg']}; the keys are {known}"
        ) from None


def _shape(model: Model, workload: Workload, shape: dict[str, Any]) -> tuple[int, str]:
    """Vocabulary and class name of a written-out architecture. Raises EngineError for one that says too little."""
    for key, kind in (("model_type", str), ("vocab_size", int), ("architectures", list)):
        if not isinstance(shape.get(key), kind):
            raise EngineError(
                f"model {model.name}: engine_options: transformers: architecture needs {key}; copy it from the model's config.json"
            )
    if model.parameters is None:
        raise EngineError(
            f"model {model.name}: random weights need `parameters`, so that what was built can be held against it"
        )
    longest, context = workload.input_tokens + workload.output_tokens, shape.get("max_position_embeddings")
    if isinstance(context, int) and longest > context:
        raise EngineError(
            f"workload {workload.name}: {workload.input_tokens} input and {workload.output_tokens} output tokens are more than "
            f"the context of {model.name} ({context}); ask for less"
        )
    return int(shape["vocab_size"]), str(shape["architectures"][0])


def _kept(folder: Path, stem: str, suffix: str, text: bytes) -> tuple[Path, str]:
    """``text`` as a file named by its digest; returns it and the sha256."""
    digest = hashlib.sha256(text).hexdigest()
    path = folder / f"{stem}-{digest[:12]}{suffix}"
    if not path.exists() or path.read_bytes() != text:
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_bytes(text)
        partial.replace(path)
    return path, digest


class _MemorySource(BaseModel):
    source: str


class _Own(BaseModel):
    """The report's keys that this engine has over llama.cpp's."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", protected_namespaces=())

    engine: TorchPart
    model: BuiltPart
    memory: _MemorySource


def _own_parts(output: Path) -> tuple[BuiltPart, TorchPart, str]:
    try:
        own = _Own.model_validate_json((output / "report.json").read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        what = f"{key} is missing" if first["type"] == "missing" else f"{key}: {first['msg']}"
        raise Unusable(f"report_invalid: {what}") from None
    return own.model, own.engine, own.memory.source


def _not_as_asked(built: BuiltPart, model: Model, prepared: Prepared) -> list[str]:
    """How the model that ran differs from the one asked for."""
    facts = prepared.facts
    asked: list[tuple[str, object, object]] = [
        ("architecture", facts["architecture"], built.name),
        ("configuration", str(facts["config_sha256"])[:12], built.file_sha256[:12]),
        ("parameters", facts.get("parameters", built.parameters), built.parameters),
        ("dtype", _options(model).dtype, built.dtype),
        ("random weights", bool(facts["random"]), built.random),
        ("seed", facts.get("seed"), built.seed),
        ("layers", model.layers or built.layers, built.layers),
    ]
    return [f"{what} asked for {wanted}, built {got}" for what, wanted, got in asked if wanted != got]


def _sourced(metric: Metric, memory_source: str) -> Metric:
    sources = {
        "peak_memory_gib": f"report.json: {memory_source}",
        "kv_cache_gib": "report.json: bytes of the cache's tensors",
    }
    return metric.model_copy(update={"source": sources.get(metric.name, metric.source)})


def _named(failure: str, output: Path) -> str:
    """Add what the log knows: running out of memory is a failure of its own, and a missing report has a reason."""
    if not failure.startswith("report_missing"):
        return failure
    try:
        text = (output.parent / "stderr.log").read_text(errors="replace")
    except OSError:
        return failure
    said = [
        line.partition("transformers_bench: ")[2].strip()
        for line in text.splitlines()
        if "transformers_bench: " in line
    ]
    if any("OutOfMemoryError" in line or "out of memory" in line for line in said):
        return f"out_of_memory: {said[-1][:300]}"
    return f"report_missing: {said[-1][:300]}" if said else failure
