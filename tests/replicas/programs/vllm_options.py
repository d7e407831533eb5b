"""The options of ``vllm bench throughput``, ``vllm bench serve`` and ``vllm serve``,
read by argparse as vLLM reads them.

``options.json`` has the names that ``--help=all`` of a real 0.22.1 listed. The older version, 0.11, has the names of
its own help that matter here, and lists them all on a plain ``--help``. Nobody may take an abbreviation for an option.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .trtllm_options import line

RECORDED = "options.json"
"""In an image beside this file; in the project among what a real 0.22.1 wrote."""

_HERE = Path(__file__).with_name(RECORDED)
_PLACE = _HERE if _HERE.exists() else Path(__file__).parents[2] / "fixtures" / "vllm" / "h100_0.22.1" / RECORDED

LISTED: dict[str, list[str]] = {
    # Its help wraps names at a dash, and speaks of --json-arg in general: neither is an option.
    command: [name for name in told["--help=all"] if not name.endswith("-") and name not in ("--help", "--json-arg")]
    for command, told in json.loads(_PLACE.read_text()).items()
}

ENGINE_011 = [
    "--model",
    "--tokenizer",
    "--tokenizer-mode",
    "--trust-remote-code",
    "--revision",
    "--dtype",
    "--seed",
    "--max-model-len",
    "--quantization",
    "--enforce-eager",
    "--load-format",
    "--gpu-memory-utilization",
    "--kv-cache-dtype",
    "--kv-cache-memory-bytes",
    "--block-size",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
    "--tensor-parallel-size",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--disable-log-stats",
    "--served-model-name",
]
SAMPLED_011 = [
    "--backend",
    "--dataset-name",
    "--dataset-path",
    "--num-prompts",
    "--seed",
    "--hf-subset",
    "--hf-split",
    "--disable-tqdm",
    "--trust-remote-code",
]
LISTED_011: dict[str, list[str]] = {
    "bench_throughput": [
        *ENGINE_011,
        *[
            "--backend",
            "--dataset-name",
            "--dataset-path",
            "--num-prompts",
            "--input-len",
            "--output-len",
            "--n",
            "--output-json",
            "--async-engine",
        ],
        *["--disable-detokenize", "--lora-path", "--prefix-len", "--hf-max-batch-size"],
    ],
    "bench_serve": [
        *SAMPLED_011,
        *[
            "--base-url",
            "--host",
            "--port",
            "--endpoint",
            "--model",
            "--tokenizer",
            "--max-concurrency",
            "--request-rate",
            "--burstiness",
        ],
        *[
            "--save-result",
            "--save-detailed",
            "--append-result",
            "--metadata",
            "--result-dir",
            "--result-filename",
            "--ignore-eos",
        ],
        *[
            "--percentile-metrics",
            "--metric-percentiles",
            "--random-input-len",
            "--random-output-len",
            "--random-range-ratio",
        ],
        *["--ready-check-timeout-sec", "--served-model-name", "--label", "--goodput", "--profile"],
    ],
    "serve": [*ENGINE_011, *["--host", "--port", "--api-key", "--uvicorn-log-level", "--headless"]],
}

FLAGS = frozenset(
    [
        "--append-result",
        "--async-engine",
        "--disable-detokenize",
        "--disable-log-stats",
        "--disable-shuffle",
        "--disable-tqdm",
        "--enable-lora",
        "--enable-multimodal-chat",
        "--hf-enable-torch-compile",
        "--ignore-eos",
        "--insecure",
        "--no-oversample",
        "--no-reranker",
        "--no-stream",
        "--plot-dataset-stats",
        "--plot-timeline",
        "--profile",
        "--save-detailed",
        "--save-result",
        "--skip-chat-template",
        "--use-beam-search",
        "--headless",
        "--grpc",
        "--prequeue-requests",
    ]
)
"""Take no value; so does whatever has a ``--no-`` twin."""

NUMBERS: dict[str, Any] = {
    "--num-prompts": 1000,
    "--random-input-len": 1024,
    "--random-output-len": 128,
    "--input-len": None,
    "--output-len": None,
    "--seed": 0,
    "--max-model-len": None,
    "--max-num-seqs": None,
    "--max-concurrency": None,
    "--num-warmups": 0,
    "--ready-check-timeout-sec": 0,
    "--port": 8000,
    "--kv-cache-memory-bytes": None,
}
"""Whole numbers, with their defaults."""

CHOICES = {"--dataset-name": ("sharegpt", "random", "sonnet", "burstgpt", "hf", "custom")}
GROUPS = {
    "bench_throughput": ("ModelConfig", "LoadConfig", "ParallelConfig", "CacheConfig", "SchedulerConfig", "VllmConfig"),
    "bench_serve": ("options",),
    "serve": (
        "Frontend",
        "ModelConfig",
        "LoadConfig",
        "ParallelConfig",
        "CacheConfig",
        "SchedulerConfig",
        "VllmConfig",
    ),
}


class Help(argparse.Action):
    """``--help`` names the groups of options, ``--help=all`` lists them."""

    def __init__(self, option_strings: Sequence[str], dest: str, **how: Any) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs="?", const="", **how)

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        if values == "all":
            parser.print_help()
        else:
            print(f"usage: {parser.prog} [options]\n\nConfig Groups:")
            print("".join(f"  {group}\n" for group in parser.groups_named))  # type: ignore[attr-defined]
            print("  --help=all lists every option, --help=GROUP those of one.")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """Takes underscores for dashes, as vLLM's does."""

    groups_named: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args([_dashes(word) for word in given], namespace)


def _dashes(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}" if word.startswith("--") else word


def names(command: str, version: str) -> list[str]:
    return LISTED[command] if line(version) >= (0, 12) else LISTED_011[command]


def parser(command: str, version: str) -> Parser:
    """Of ``bench_throughput``, ``bench_serve`` or ``serve``."""
    listed = names(command, version)
    grouped = line(version) >= (0, 12)
    made = Parser(prog=f"vllm {command.replace('_', ' ')}", allow_abbrev=False, add_help=not grouped)
    made.groups_named = GROUPS[command]
    if grouped:
        made.add_argument("-h", "--help", action=Help, help="Names the groups of options; =all lists them.")
    if command == "serve":
        made.add_argument("model_tag", nargs="?")
    for name in dict.fromkeys(listed):
        twin = f"--no-{name[2:]}"
        if name.startswith("--no-") and f"--{name[5:]}" in listed:
            continue
        if twin in listed:
            made.add_argument(name, action=argparse.BooleanOptionalAction, default=None)
        elif name in FLAGS:
            made.add_argument(name, action="store_true")
        elif name in NUMBERS:
            made.add_argument(name, type=int, default=NUMBERS[name])
        else:
            made.add_argument(name, choices=CHOICES.get(name))
    if not grouped:
        made.set_defaults(ready_check_timeout_sec=600)
    return made
