"""An endpoint that speaks OpenAI's completions, with a hook that starts the server
inside the arm and one that stops it.

``engine_options: {openai: {start: …, model: …}}`` of a model, or of an arm, say which: ``start`` is a shell command in
which ``{weights}``, ``{port}`` and ``{model}`` are filled in (``vllm serve {weights} --port {port} --served-model-name
{model}``, ``python3 -m sglang.launch_server --model-path {weights} --port {port} --served-model-name {model}``).
Without it ``url`` names a server that runs already, the same for every arm, whose environment is then only the
client's. Prompts are token ids from the shared dataset; tokens are counted by the server's own ``usage``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from actors.engines import KERNEL_CACHES, OUTPUT, BuildsNothing, EngineError, Keys, Ways
from actors.engines.common import weights
from actors.engines.common.dataset import write_dataset
from actors.engines.common.failures import find_failure
from actors.engines.common.program import kept
from actors.engines.common.report_files import by_name, refuse_reference
from actors.engines.common.requests import answer_digest, write_requests
from actors.engines.common.timestamped_log import log_text
from actors.engines.openai.report import Unusable, metrics, read
from actors.types import Frozen, Launch, Metric, Model, Mount, Prepared, Report, Workload

INPUT = "/campaign/input"
PROGRAM = Path(__file__).with_name("bench.py")
PORT = 18918


class Options(Frozen):
    """Keys of ``engine_options: openai``."""

    start: str = ""
    """Shell command that starts the server, with ``{weights}``, ``{port}``, ``{model}``."""
    stop: str = ""
    """Shell command that ends it; SIGTERM to its process group follows in any case."""
    url: str = f"http://127.0.0.1:{PORT}/v1"
    model: str | None = None
    """What the server calls it; the entry's name unless said otherwise."""
    ready_s: float = Field(default=1800.0, gt=0)
    token_ids: tuple[int, int] = (1000, 32000)
    """Prompts are drawn from these: ids that the tokenizer has and uses for no special token."""


class OpenAi(BuildsNothing):
    name = "openai"
    title = "an OpenAI-compatible endpoint"
    needs_gpu = False
    probes: Mapping[str, Ways] = {}
    cache_variables: Mapping[str, str] = KERNEL_CACHES

    def reads_checkpoint(self, model: Model) -> bool:
        return model.huggingface_id is not None and model.path is None

    def expect(self, model: Model, workload: Workload, cache: Path) -> Prepared | None:
        return None

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        options = _options(model)
        if not options.start and "url" not in model.engine_options.get("openai", {}):
            raise EngineError(
                f"model '{model.name}': nothing says how its server is started, or where it is",
                "Write engine_options: {openai: {start: 'vllm serve {weights} --port {port} --served-model-name "
                "{model}'}} or {openai: {url: …}}.",
            )
        dataset, digest = write_dataset(cache / "datasets", workload, range(*options.token_ids))
        program, program_digest = kept(PROGRAM, "openai", cache)
        files = {"dataset": str(dataset), "program": str(program)}
        digests = {"dataset": digest, "program": program_digest}
        if model.path is not None or model.huggingface_id is not None:
            place = Path(model.path).expanduser() if model.path else weights.locate(model, cache)
            if not place.exists():
                raise EngineError(f"model '{model.name}': {place} does not exist", "Correct `path:` in models.yaml.")
            files["weights"] = str(place)
            digests["weights"] = weights.digest(place, cache) if place.is_dir() else weights.file_digest(place)
        elif "{weights}" in options.start:
            raise EngineError(
                f"model '{model.name}': its server wants {{weights}}, and the entry has none", "Add `path:`."
            )
        return Prepared(files=files, digests=digests, facts={"model_identity": options.model or model.name})

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        options = _options(model)
        inside = {role: f"{INPUT}/{Path(path).name}" for role, path in prepared.files.items()}
        url = options.url
        port = re.search(r":(\d+)(?:/|$)", url)
        filled = {
            "weights": inside.get("weights", ""),
            "model": prepared.model_identity,
            "port": port[1] if port else "",
        }
        concurrency = workload.concurrency or (1 if workload.kind == "latency" else model.batch_size)
        argv = ["python3", inside["program"], f"--url={url}", f"--model={prepared.model_identity}"]
        argv += [f"--dataset={inside['dataset']}", f"--output={OUTPUT}", f"--requests={workload.requests}"]
        argv += [
            f"--concurrency={concurrency}",
            f"--warmup-requests={workload.warmup_requests}",
            f"--ready-s={options.ready_s:g}",
        ]
        for hook in ("start", "stop"):
            if text := getattr(options, hook):
                argv.append(f"--{hook}={_filled(text, filled)}")
        mounts = tuple(Mount(source=path, target=inside[role]) for role, path in prepared.files.items())
        return Launch(argv=tuple(argv), variables={"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}, mounts=mounts)

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        asked = workload.requests * workload.output_tokens
        try:
            report, lines = read(output)
            if len(lines) != workload.requests:
                raise Unusable(f"{len(lines)} requests are recorded, {workload.requests} were asked for")
            rows = (
                line.model_dump(exclude={"answer"}) | {"answer_sha256": answer_digest(line.answer) if line.ok else None}
                for line in lines
            )
            write_requests(output.parent / "requests.parquet", rows)
        except (Unusable, EngineError) as problem:
            failure = _cause(output, str(problem))
            return Report(
                metrics=tuple(_missing(one, failure) for one in metrics(None, ())),
                requests_expected=workload.requests,
                tokens_expected=asked,
                failure=failure,
            )
        answered = [line for line in lines if line.ok]
        first = next((line.error for line in lines if not line.ok), None)
        others = sorted(set(report.model.answered) - {prepared.model_identity, prepared.files.get("weights", "")})
        wrong = f"model_identity: asked for {prepared.model_identity}, {', '.join(others)} answered" if others else None
        failed = f"requests_failed: {len(lines) - len(answered)} of {len(lines)}, the first: {first}" if first else None
        return Report(
            metrics=metrics(report, lines),
            model_identity=prepared.model_identity if not others else others[0],
            requests_expected=workload.requests,
            requests_answered=len(answered),
            requests_failed=len(lines) - len(answered),
            tokens_expected=asked,
            tokens_generated=sum(line.output_tokens for line in answered),
            failure=wrong or failed,
        )

    def texts(self, output: Path) -> tuple[str, ...] | None:
        try:
            _, lines = read(output)
        except Unusable:
            return None
        return tuple(line.answer for line in lines if line.ok and line.answer) or None

    def parse_file(self, report: Path, log: Path | None, requests: Path | None, keys: Keys) -> dict[str, Any]:
        refuse_reference(self, keys)
        if report.name != "report.json":
            raise EngineError(
                f"{report}: give the report.json of an attempt's output folder, with its requests.jsonl beside it"
            )
        try:
            found, lines = read(report.parent)
        except Unusable as problem:
            raise EngineError(f"{report}: {problem}") from None
        return {
            "engine": self.name,
            "engine_version": None,
            "model_identity": ", ".join(found.model.answered) or found.model.asked,
            "requests_answered": sum(line.ok for line in lines),
            "failure": None,
            **by_name(metrics(found, lines)),
            "notes": [],
        }


def _options(model: Model) -> Options:
    try:
        return Options.model_validate_json(json.dumps(model.engine_options.get("openai", {})))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise EngineError(
            f"model '{model.name}': engine_options: openai: {where}: {first['msg']}",
            f"Keys are {', '.join(Options.model_fields)}.",
        ) from None


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Only the three names: a command may hold other braces."""
    return re.sub(r"\{(weights|port|model)\}", lambda match: values[match[1]], text)


def _cause(output: Path, problem: str) -> str:
    """Why there is no report: what the client says, and what the server's log shows."""
    said = ""
    for line in log_text(output.parent / "stderr.log").splitlines():
        if "openai_bench: " in line:
            said = line.partition("openai_bench: ")[2].strip()
    log = output / "server.log"
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    known = find_failure(lines)
    words = said or problem
    if words.startswith("model_identity"):
        return words
    return f"{known}" if known is not None and known.name != "failed" else f"report_missing: {words}"


def _missing(metric: Metric, failure: str) -> Metric:
    return metric.model_copy(update={"reason": failure.split(":", maxsplit=1)[0]})
