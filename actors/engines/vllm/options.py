"""What vLLM's programs are told of a model and a workload, by the options that an image's own help lists."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from actors.engines import OUTPUT, EngineError
from actors.engines.vllm import dummy_checkpoint
from actors.types import Model, Prepared, Workload

INPUT = "/campaign/input"
PORT = 18917
READY_S = 1800
"""How long the server may take to load the weights."""

UTILIZATION = 0.8
"""Share of the device's memory that vLLM may take. Its own default of 0.9 leaves
unified memory too little for the host."""

COMMON = {
    "help_throughput": "--random-input-len --random-output-len --seed",
    "help_serve": "--ready-check-timeout-sec --save-detailed --ignore-eos --seed",
}
"""What every version from 0.14 to 0.33 takes: assumed where nobody could ask the image."""

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


def identity(model: Model) -> str:
    """What the engine must say it ran. Random weights are nobody's model, whatever shape they have."""
    if model.random_weights is not None:
        return f"local/{model.name}"
    return model.huggingface_id or f"local/{model.name}"


def inside(model: Model) -> str:
    """Where the weights are mounted. The path carries the model's name, because older versions name nothing else."""
    return f"{INPUT}/{identity(model)}"


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


def engine_options(model: Model, workload: Workload) -> Options:
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


def throughput_argv(model: Model, workload: Workload, prepared: Prepared, engine: Options) -> list[str]:
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


def serve_argv(model: Model, workload: Workload, prepared: Prepared, engine: Options) -> list[str]:
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
