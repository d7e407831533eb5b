"""An engine: how many tokens' worth of bytes a second this machine hashes. No language model,
and all that a campaign asks of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.engines import OUTPUT, BuildsNothing, EngineError, Keys, Ways
from actors.types import Launch, Metric, Model, Prepared, Report, Workload

PROGRAM = """
import hashlib, json, sys, time
requests, tokens, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
began = time.monotonic()
times = []
for _ in range(requests):
    start = time.monotonic()
    for _ in range(tokens):
        hashlib.sha256(bytes(65536)).digest()
    times.append(1000 * (time.monotonic() - start))
report = {"seconds": time.monotonic() - began, "latency_ms": times, "tokens": requests * tokens}
open(output + "/report.json", "w").write(json.dumps(report))
"""


class Checksum(BuildsNothing):
    name = "checksum"
    title = "SHA-256 of Python"
    needs_gpu = False
    probes: Mapping[str, Ways] = {}
    cache_variables: Mapping[str, str] = {}

    def reads_checkpoint(self, model: Model) -> bool:
        return False

    def expect(self, model: Model, workload: Workload, cache: Path) -> Prepared | None:
        return self.prepare(model, workload, cache)

    def prepare(self, model: Model, workload: Workload, cache: Path) -> Prepared:
        return Prepared(facts={"model_identity": model.name})

    def command(self, model: Model, workload: Workload, prepared: Prepared) -> Launch:
        words = ("python3", "-I", "-c", PROGRAM, str(workload.requests), str(workload.output_tokens), OUTPUT)
        return Launch(argv=words)

    def parse(self, output: Path, model: Model, workload: Workload, prepared: Prepared) -> Report:
        asked = workload.requests * workload.output_tokens
        try:
            told = json.loads((output / "report.json").read_text())
            rates = {"token_throughput_tok_s": told["tokens"] / told["seconds"], "steady_s": told["seconds"]}
            rates["latency_mean_ms"] = sum(told["latency_ms"]) / len(told["latency_ms"])
        except (OSError, ValueError, KeyError, ZeroDivisionError) as problem:
            failure = f"report_missing: {problem}"
            return Report(requests_expected=workload.requests, tokens_expected=asked, failure=failure)
        units = {"token_throughput_tok_s": "tok/s", "steady_s": "s", "latency_mean_ms": "ms"}
        found = [
            Metric(name=name, value=value, unit_of_measure=units[name], source="report.json")
            for name, value in rates.items()
        ]
        why = "a checksum keeps nothing in memory"
        found.append(Metric(name="peak_memory_gib", value=None, unit_of_measure="GiB", source="none", reason=why))
        return Report(
            metrics=tuple(found),
            model_identity=prepared.model_identity,
            requests_expected=workload.requests,
            requests_answered=len(told["latency_ms"]),
            tokens_expected=asked,
            tokens_generated=told["tokens"],
            engine_version="1",
        )

    def texts(self, output: Path) -> tuple[str, ...] | None:
        return None

    def parse_file(self, report: Path, log: Path | None, requests: Path | None, keys: Keys) -> dict[str, Any]:
        try:
            told = json.loads(report.read_text())
            return {"engine": self.name, "metrics": {"token_throughput_tok_s": told["tokens"] / told["seconds"]}}
        except (OSError, ValueError, KeyError) as problem:
            raise EngineError(f"{report}: no report of checksum ({problem})") from None


ENGINE = Checksum()
