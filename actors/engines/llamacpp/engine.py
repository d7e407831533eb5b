"""llama.cpp, as the ``xllamacpp`` wheel: prepares weights and prompts, names the command, reads its report.

The program itself is ``bench.py``. It is copied below the cache under the digest of its text, so that the
command of a finished attempt still means what it meant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.engines import OUTPUT, BuildsNothing, EngineError, Keys, Ways
from actors.engines.common.dataset import write_dataset
from actors.engines.common.program import kept
from actors.engines.common.requests import answer_digest, write_requests
from actors.engines.llamacpp import gguf_file
from actors.engines.llamacpp.report import (
    EngineReport,
    RequestLine,
    Tally,
    Unusable,
    metrics,
    read_lines,
    read_report,
    without_figures,
)
from actors.types import Launch, Model, Mount, Prepared, Report, Workload

INPUT = "/campaign/input"
"""Where every arm sees weights, prompts and program, read-only."""
PROGRAM = Path(__file__).with_name("bench.py")
TEXTS_MAX = 2**22
"""Characters of answers that are looked at for sense."""
OUT_OF_MEMORY = re.compile(
    r"failed to allocate (?:buffer|.*memory)|unable to allocate|out of memory|cannot "
    r"allocate memory|bad_alloc|MemoryError", re.I
)  # fmt: skip


class LlamaCpp(BuildsNothing):
    name = "llamacpp"
    title = "llama.cpp (Campaign)"
    needs_gpu = False
    probes: Mapping[str, Ways] = {}
    cache_variables: Mapping[str, str] = {}

    def reads_checkpoint(self, model: Model) -> bool:
        """A GGUF file is named by its path; nothing is fetched."""
        return model.huggingface_id is not None and model.random_weights is None

    def expect(self, model: Model, workload: Workload, cache: Path) -> Prepared | None:
        return None  # the prompts' token ids are those that the weights' own vocabulary says

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        """Weights, prompts and program below ``cache``. Raises EngineError for what cannot be run."""
        weights, known = gguf_file.weights(model, cache)
        longest = workload.input_tokens + workload.output_tokens
        if longest > int(known["context_length"]):
            raise EngineError(
                f"workload {workload.name}: {workload.input_tokens} input and {workload.output_tokens} output tokens "
                f"are more than the context of {model.name} ({known['context_length']}); ask for less"
            )
        token_ids = range(int(known["first_text_token"]), int(known["end_text_token"]))
        dataset, dataset_digest = write_dataset(cache / "datasets", workload, token_ids)
        program, program_digest = kept(PROGRAM, "llamacpp", cache)
        facts = {name: known[name] for name in ("general_name", "parameters", "weight_bytes", "kv_bytes_per_token")}
        return Prepared(
            files={"weights": str(weights), "dataset": str(dataset), "program": str(program)},
            digests={"weights": str(known["sha256"]), "dataset": dataset_digest, "program": program_digest},
            facts={**facts, "model_identity": model.name, "threads": threads_of(model)},
        )

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        inside = {role: f"{INPUT}/{Path(path).name}" for role, path in prepared.files.items()}
        # One request at a time is what a latency workload means; otherwise as many as the model decodes together.
        concurrency = workload.concurrency or (1 if workload.kind == "latency" else model.batch_size)
        argv = (
            "python3",
            "-I",
            inside["program"],
            f"--model={inside['weights']}",
            f"--dataset={inside['dataset']}",
            f"--output={OUTPUT}",
            f"--requests={workload.requests}",
            f"--concurrency={concurrency}",
            f"--warmup-requests={workload.warmup_requests}",
            f"--threads={prepared.facts['threads']}",
        )
        mounts = tuple(Mount(source=path, target=inside[role]) for role, path in prepared.files.items())
        return Launch(argv=argv, mounts=mounts)

    def parse_file(self, report: Path, log: Path | None, requests: Path | None, keys: Keys) -> dict[str, Any]:
        from actors.engines.llamacpp.file import parse_file

        return parse_file(report, keys)

    def texts(self, output: Path) -> tuple[str, ...] | None:
        """The answers of an attempt, or None where it kept none."""
        found: list[str] = []
        left = TEXTS_MAX
        try:
            for line in read_lines(output):
                if line.ok and line.answer is not None and (left := left - len(line.answer)) > 0:
                    found.append(line.answer)
        except Unusable:
            return None
        return tuple(found) or None

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        try:
            report = read_report(output)
            tally = Tally(report, output.parent)
            rows = (_row(line) for line in tally.add_all(read_lines(output), workload))
            write_requests(output.parent / "requests.parquet", rows)
        except (Unusable, EngineError) as unusable:
            named = _named(str(unusable), output)
            return without_figures(self.name, workload, named)
        same = _identity(report) == _identity_asked(prepared)
        failure: str | None = None
        if not same:
            failure = f"model_identity: asked for {_identity_asked(prepared)}, the engine loaded {_identity(report)}"
        elif report.requests.failed:
            failed = f"{report.requests.failed} of {report.requests.expected}"
            failure = f"requests_failed: {failed}, the first: {tally.first_error}"
        return Report(
            metrics=metrics(report, tally),
            model_identity=prepared.model_identity if same else report.model.name,
            requests_expected=workload.requests,
            requests_answered=report.requests.answered,
            requests_failed=report.requests.failed,
            tokens_expected=workload.requests * workload.output_tokens,
            tokens_generated=report.tokens.output,
            failure=failure,
            engine_version=f"xllamacpp {report.engine.version}",
        )


def _row(line: RequestLine) -> dict[str, Any]:
    return {**line.__dict__, "answer_sha256": answer_digest(line.answer) if line.ok else None}


def threads_of(model: Model) -> int:
    """Compute threads: ``engine_options: {llamacpp: {threads: N}}``, else what suits this machine."""
    options = dict(model.engine_options.get("llamacpp", {}))
    threads = options.pop("threads", None)
    if options:
        raise EngineError(
            f"model {model.name}: engine_options: llamacpp has no option {', '.join(sorted(options))}; it has: threads"
        )
    if threads is None:
        return compute_threads()
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise EngineError(
            f"model {model.name}: engine_options: llamacpp: threads must be a positive number, not {threads!r}"
        )
    return threads


def compute_threads() -> int:
    """One less than the machine's CPUs: llama.cpp waits for its slowest thread at every layer, so a core that it
    shares with the harness would slow all of them. The CPUs are those of process 1, because the caller's own affinity
    may be narrowed to keep it out of the way."""
    try:
        cpus = len(os.sched_getaffinity(1))
    except OSError:
        cpus = len(os.sched_getaffinity(0))
    return max(1, cpus - 1)


def _identity(report: EngineReport) -> str:
    return f"{report.model.name} ({report.model.parameters} parameters, sha256 {report.model.file_sha256[:12]})"


def _identity_asked(prepared: Prepared) -> str:
    facts = prepared.facts
    return f"{facts['general_name']} ({facts['parameters']} parameters, sha256 {prepared.digests['weights'][:12]})"


def _named(failure: str, output: Path) -> str:
    """Add what the logs know: running out of memory is a failure of its own, and a missing report has a reason."""
    if not failure.startswith("report_missing"):
        return failure
    said = ""
    for log in (output.parent / "stderr.log", output / "engine.log"):
        try:
            text = log.read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if OUT_OF_MEMORY.search(line):
                return f"out_of_memory: {line.strip()[-300:]}"
            if "llamacpp_bench: " in line:
                said = line.partition("llamacpp_bench: ")[2].strip()
    return f"report_missing: {said}" if said else "report_missing"
