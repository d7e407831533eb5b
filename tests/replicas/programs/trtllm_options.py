"""The options of ``trtllm-bench`` 1.0 to 1.3, one row each: since and until which version, and how click reads it.

From the published command line references of 1.0, 1.1 and 1.2 and the sources of the 1.3 line, held as facts in
``test_trtllm_options.py``. The help texts here are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

Line = tuple[int, int]
"""Major and minor version."""

FIRST, LAST = (1, 0), (1, 3)
LOG_LEVELS = ("internal_error", "error", "warning", "info", "verbose", "debug", "trace")
QUANTIZATIONS = ("W8A16", "W4A16", "W4A16_AWQ", "W4A8_AWQ", "W4A16_GPTQ", "FP8", "INT8", "NVFP4")


@dataclass(frozen=True)
class Option:
    names: tuple[str, ...]
    since: Line = FIRST
    until: Line = LAST
    how: dict[str, Any] = field(default_factory=dict)

    def declare(self) -> click.Option:
        return click.Option(self.names, **self.how)


def line(version: str) -> Line:
    """``1.1.0rc3`` to (1, 1)."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def backends(of: Line) -> tuple[str, ...]:
    """The TensorRT backend went during the candidates of 1.3, though ``--engine_dir`` is still listed."""
    return ("pytorch", "_autodeploy", "tensorrt") if of < (1, 3) else ("pytorch", "_autodeploy")


def _number(name: str, default: int | None = None, *more: str, **how: Any) -> Option:
    return Option((name, *more), how={"type": int, "default": default, **how})


def _file(name: str, since: Line = FIRST, **how: Any) -> Option:
    """A file to be written."""
    kind = click.Path(dir_okay=False, writable=True, readable=False, path_type=Path, resolve_path=True)
    return Option((name,), since=since, how={"type": kind, **how})


def _existing(*names: str, since: Line = FIRST, **how: Any) -> Option:
    return Option(
        names,
        since=since,
        how={"type": click.Path(exists=True, readable=True, path_type=Path, resolve_path=True), **how},
    )


GLOBAL = (
    Option(("--model", "-m"), how={"required": True, "type": str, "help": "Hugging Face name of the model."}),
    Option(("--model_path",), how={"type": click.Path(path_type=Path), "help": "Folder of a local checkpoint."}),
    Option(
        ("--workspace", "-w"), how={"type": click.Path(path_type=Path), "default": "/tmp", "help": "Scratch folder."}
    ),
    Option(("--log_level",), how={"type": click.Choice(LOG_LEVELS), "default": "info", "help": "Least level logged."}),
    Option(("--revision",), since=(1, 2), how={"type": str, "help": "Revision on Hugging Face."}),
    Option(("--telemetry/--no-telemetry",), since=(1, 3), how={"default": True, "help": "Usage reports."}),
)


def _shared(of: Line) -> Iterator[Option]:
    """Of ``throughput`` and ``latency`` alike."""
    yield _existing("--engine_dir", help="Folder of a built engine.")
    yield Option(
        ("--backend",), how={"type": click.Choice(backends(of)), "default": "pytorch", "help": "What runs the model."}
    )
    yield Option(
        ("--kv_cache_free_gpu_mem_fraction",),
        how={"type": click.FloatRange(0.0, 1.0), "default": 0.90, "help": "Share of the free memory for the KV cache."},
    )
    yield _number("--max_seq_len", help="Longest sequence.")
    yield _existing("--dataset", required=True, help="Requests, one JSON object a line.")
    yield _number("--num_requests", 0, help="How many of them; 0 is all.")
    yield _number("--warmup", 2, help="Requests served before the clock starts.")
    yield Option(("--modality",), how={"type": click.Choice(("image", "video")), "help": "Of multimodal requests."})
    yield _number("--max_input_len", 4096, help="Longest multimodal prompt.")
    yield _number("--tp", 1, help="Tensor parallel size.")
    yield _number("--pp", 1, help="Pipeline parallel size.")
    yield _number("--ep", help="Expert parallel size.")
    yield _number("--beam_width", 1, help="Beams.")
    yield _file("--report_json", help="File for the report.")
    yield _file("--iteration_log", help="File for figures of single iterations.")


def _throughput(of: Line) -> Iterator[Option]:
    yield from _shared(of)
    yield Option(("--extra_llm_api_options",), how={"type": str, "help": "YAML file of further settings."})
    yield Option(("--config",), since=(1, 2), how={"type": str, "help": "The same."})
    yield _number("--max_batch_size", help="Sequences decoded together.")
    yield _number("--max_num_tokens", help="Tokens in one step.")
    yield _number("--concurrency", -1, help="Requests in flight; 0 and less is all.")
    yield _number("--eos_id", -1, help="End-of-sequence token; -1 is none.")
    yield _number("--target_input_len", help="For the heuristics.")
    yield _number("--target_output_len", help="For the heuristics.")
    yield _number("--cluster_size", help="Expert cluster parallel size.")
    yield Option(
        ("--scheduler_policy",),
        how={
            "type": click.Choice(("guaranteed_no_evict", "max_utilization")),
            "default": "guaranteed_no_evict",
            "help": "How requests are scheduled.",
        },
    )
    yield Option(("--streaming",), how={"is_flag": True, "default": False, "help": "Stream the answers."})
    if of == (1, 0):
        yield Option(
            ("--enable_chunked_context",), how={"is_flag": True, "default": False, "help": "Chunk long prompts."}
        )
    else:
        both = "--enable_chunked_context/--disable_chunked_context"
        yield Option((both,), how={"default": True, "help": "Chunk long prompts."})
    yield _file("--output_json", help="File for the answers.")
    yield _file("--request_json", help="File for records of single requests.")
    yield _existing("--sampler_options", since=(1, 1), help="YAML file for sampling.")
    yield Option(
        ("--custom_module_dirs",),
        since=(1, 1),
        how={"type": click.Path(exists=True, path_type=Path), "multiple": True, "help": "Folders of own model code."},
    )
    yield Option(
        ("--no_skip_tokenizer_init",),
        since=(1, 1),
        how={"is_flag": True, "default": False, "help": "Load the tokenizer."},
    )
    yield Option(
        ("--image_data_format",),
        since=(1, 1),
        how={"type": click.Choice(("pt", "pil")), "default": "pt", "help": "How images are handed over."},
    )
    yield Option(
        ("--data_device",),
        since=(1, 1),
        how={"type": click.Choice(("cuda", "cpu")), "default": "cuda", "help": "Where images are loaded."},
    )
    yield Option(("--duration",), since=(1, 3), how={"type": int, "help": "Seconds to serve for."})
    yield Option(("--custom_tokenizer",), since=(1, 3), how={"type": str, "help": "A tokenizer of one's own."})


def _latency(of: Line) -> Iterator[Option]:
    """It always streams, with a batch of one: no option says otherwise."""
    yield from _shared(of)
    yield _number("--concurrency", 1, help="Requests in flight.")
    yield Option(("--medusa_choices",), how={"type": click.Path(exists=True, path_type=Path), "help": "YAML file."})
    yield Option(
        ("--extra_llm_api_options",), since=(1, 1), how={"type": str, "help": "YAML file of further settings."}
    )
    yield _existing("--sampler_options", since=(1, 1), help="YAML file for sampling.")
    yield Option(("--config",), since=(1, 2), how={"type": str, "help": "As --extra_llm_api_options."})


def _build(of: Line) -> Iterator[Option]:
    yield _number("--tp_size", 1, "-tp", help="Tensor parallel size.")
    yield _number("--pp_size", 1, "-pp", help="Pipeline parallel size.")
    yield Option(("--quantization", "-q"), how={"type": click.Choice(QUANTIZATIONS), "help": "Quantise to."})
    yield _number("--max_seq_len", help="Longest sequence.")
    yield Option(("--no_weights_loading",), how={"type": bool, "default": False, "help": "Leave the weights out."})
    yield Option(("--trust_remote_code",), how={"type": bool, "default": False, "help": "Run the checkpoint's code."})
    yield _existing("--dataset", help="Requests to size the engine for.")
    for name in ("--max_batch_size", "--max_num_tokens", "--target_input_len", "--target_output_len"):
        yield _number(name, help="To size the engine.")


SUBCOMMANDS: dict[str, tuple[Callable[[Line], Iterator[Option]], Line, Line]] = {
    "throughput": (_throughput, FIRST, LAST),
    "latency": (_latency, FIRST, LAST),
    "build": (_build, FIRST, (1, 2)),
}


def declared(options: tuple[Option, ...] | Iterator[Option], of: Line) -> list[click.Parameter]:
    return [option.declare() for option in options if option.since <= of <= option.until]


def program(version: str, bodies: dict[str, Callable[..., Any]], settings: Callable[..., Any]) -> click.Group:
    """The command line of that version over ``bodies`` by subcommand, ``settings`` for the options of the group."""
    of = line(version)
    group = click.Group(
        "trtllm-bench", params=declared(GLOBAL, of), callback=settings, context_settings={"show_default": True}
    )
    for name, (options, since, until) in SUBCOMMANDS.items():
        if since <= of <= until:
            group.add_command(click.Command(name, params=declared(options(of), of), callback=bodies[name]))
    return group
