"""The program that runs inside every arm: PyTorch and ``transformers`` under a closed loop of requests, batched continuously.

It needs torch and transformers, nothing else; every setting is an argument, so that a recorded command line can be pasted.
``--concurrency`` slots decode together, one token each per step; a slot whose request is answered takes the next request at
once, whose prompt is processed between two steps. A request's clock starts when it is handed to a free slot, so latency is
service time and not the length of a queue. Decoding is greedy and ends at the exact output length. A token's time is when
the host has seen it. Clocks are CLOCK_MONOTONIC nanoseconds, the same inside and outside a container.

The model is either built from a description (``--description``: architecture, seed, dtype) with random weights drawn on the device,
or loaded from a local checkpoint (``--checkpoint``).

Files in ``--output``: ``report.json`` (appears complete or not at all, last), ``requests.jsonl`` (one line per measured
request, by request_index), ``progress.json`` (at most twice a second). Exit code 0 means the report is there; 1 that the
reason is on stderr.
"""

import time

PROCESS_START = time.monotonic_ns()

import argparse  # noqa: E402
import hashlib  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections import deque  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

SCHEMA = 1
PROGRESS_INTERVAL_S = 0.5
ATTENTION = "campaign_slots"
LENGTH_STEP = 16
"""A slot's length is rounded up to a multiple of this: attention kernels want aligned masks."""


class Failure(Exception):
    """Why there is no report. The message is for the person."""


@dataclass
class Request:
    """One request and its clocks. ``stamps_ns`` gets one entry per token."""

    index: int
    input_ids: list[int]
    output_tokens: int
    submitted_ns: int = 0
    ended_ns: int = 0
    stamps_ns: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)


def read_dataset(path: Path, expected: int) -> list[Request]:
    """Requests in file order."""
    requests: list[Request] = []
    with path.open(encoding="utf-8") as lines:
        for line in itertools.islice(lines, expected):
            entry = json.loads(line)
            requests.append(Request(len(requests), entry["input_ids"], entry["output_tokens"]))
    if len(requests) < expected:
        raise Failure(f"{path} holds {len(requests)} requests, {expected} were asked for")
    return requests


class SlotCache:
    """Keys and values of all slots, allocated once: per layer two tensors [slots, kv_heads, length, head_dim].

    Takes the place of transformers' own caches, none of which lets every row of a batch stand at its own position. What the
    models ask of a cache is ``update``; masks and positions are handed to them.
    """

    is_compileable = False

    def __init__(self, config: Any, slots: int, length: int, device: Any, dtype: Any) -> None:
        import torch

        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        self.length = -(-length // LENGTH_STEP) * LENGTH_STEP
        shape = (slots, kv_heads, self.length, head_dim)
        # Zeros, not whatever the memory held: a masked NaN would still spoil a row.
        self.keys, self.values = (
            [torch.zeros(shape, device=device, dtype=dtype) for _ in range(config.num_hidden_layers)] for _ in range(2)
        )
        self.positions = torch.zeros(slots, dtype=torch.long, device=device)
        """Where each slot's next token goes."""
        self.prefilling: Any = None
        """Slots whose prompts are being processed; None while all slots decode."""
        self.computed_bytes = 2 * config.num_hidden_layers * slots * kv_heads * self.length * head_dim * dtype.itemsize

    @property
    def allocated_bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in (*self.keys, *self.values))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def update(self, keys: Any, values: Any, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Store new keys and values [rows, kv_heads, tokens, head_dim]; returns those to attend to."""
        all_keys, all_values = self.keys[layer_idx], self.values[layer_idx]
        if self.prefilling is not None:
            all_keys[self.prefilling, :, : keys.shape[2]] = keys
            all_values[self.prefilling, :, : values.shape[2]] = values
            return keys, values
        places = self.positions[:, None, None, None].expand_as(keys)
        all_keys.scatter_(2, places, keys)
        all_values.scatter_(2, places, values)
        return all_keys, all_values


def slot_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **_: Any
) -> tuple[Any, None]:
    """Scaled dot products without copying the keys of grouped heads: query [rows, heads, tokens, head_dim], key and value
    [rows, kv_heads, …]; returns [rows, tokens, heads, head_dim]. Query heads that share keys stand together (Ainslie et al. 2023)."""
    import torch

    attend = torch.nn.functional.scaled_dot_product_attention
    rows, heads, tokens, head_dim = query.shape
    if tokens > 1:  # whole prompts of one length, seeing only themselves
        attended = attend(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
        return attended.transpose(1, 2).contiguous(), None
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], head_dim)
    mask = attention_mask.expand(rows, key.shape[1], grouped.shape[2], key.shape[2])
    attended = attend(grouped, key, value, attn_mask=mask, scale=scaling)
    return attended.reshape(rows, 1, heads, head_dim), None


class Decoder:
    """A model with its slots. One instance serves warm-up and measurement."""

    def __init__(self, model: Any, slots: int, length: int, device: Any, graphs: bool) -> None:
        import torch

        self.model = model
        self.device = device
        self.slots = slots
        self.length = length
        self.cache = SlotCache(model.config, slots, length, device, model.dtype)
        self.tokens = torch.zeros(slots, 1, dtype=torch.long, device=device)
        self.places = torch.arange(self.cache.length, device=device)
        self.hidden = torch.full((), -math.inf, dtype=model.dtype, device=device)
        self.graph = self._captured() if graphs else None

    def _step(self) -> None:
        """One token for every slot; idle slots compute too, and nobody looks."""
        positions = self.cache.positions
        mask = self.hidden.where(self.places[None, :] > positions[:, None], 0)[:, None, None, :]
        logits = self.model(
            input_ids=self.tokens, attention_mask=mask, position_ids=positions[:, None], past_key_values=self.cache,
            use_cache=True, logits_to_keep=1,
        ).logits  # fmt: skip
        self.tokens.copy_(logits[:, -1].argmax(-1, keepdim=True))
        positions.add_(1).clamp_(max=self.length - 1)

    def _captured(self) -> Any:
        """The step as a CUDA graph: one launch instead of some hundreds."""
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph

    def step(self) -> list[int]:
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()
        tokens: list[int] = self.tokens[:, 0].tolist()  # waits for the device
        return tokens

    def prefill(self, slots: list[int], prompts: list[list[int]]) -> list[int]:
        """Process prompts of one length into ``slots``; returns their first tokens."""
        import torch

        rows = torch.tensor(slots, device=self.device)
        ids = torch.tensor(prompts, device=self.device)
        count = ids.shape[1]
        # Not read (see slot_attention), but with a mask of four dimensions the model makes none of its own.
        mask = self.hidden.expand(len(slots), 1, count, count)
        self.cache.prefilling = rows
        try:
            logits = self.model(
                input_ids=ids, attention_mask=mask,
                position_ids=torch.arange(count, device=self.device)[None].expand(len(slots), count),
                past_key_values=self.cache, use_cache=True, logits_to_keep=1,
            ).logits  # fmt: skip
        finally:
            self.cache.prefilling = None
        first = logits[:, -1].argmax(-1, keepdim=True)
        self.tokens[rows] = first
        self.cache.positions[rows] = count
        tokens: list[int] = first[:, 0].tolist()
        return tokens

    def answer(self, requests: list[Request]) -> None:
        """Closed loop: free slots take the next requests, in order, until all are answered."""
        waiting, free, busy = deque(requests), deque(range(self.slots)), dict[int, Request]()

        def seen(tokens: dict[int, int]) -> None:
            now = time.monotonic_ns()
            for slot, token in tokens.items():
                request = busy[slot]
                request.stamps_ns.append(now)
                request.tokens.append(token)
                if len(request.tokens) == request.output_tokens:
                    request.ended_ns = now
                    del busy[slot]
                    free.append(slot)

        while waiting or busy:
            while waiting and free:
                length = len(waiting[0].input_ids)
                taken: list[int] = []
                submitted = time.monotonic_ns()
                while waiting and free and len(waiting[0].input_ids) == length:
                    slot = free.popleft()
                    busy[slot] = waiting.popleft()
                    busy[slot].submitted_ns = submitted
                    taken.append(slot)
                first = self.prefill(taken, [busy[slot].input_ids for slot in taken])
                seen(dict(zip(taken, first, strict=True)))
            if busy:
                tokens = self.step()
                seen({slot: tokens[slot] for slot in list(busy)})


def build(arguments: argparse.Namespace, device: Any) -> tuple[Any, dict[str, Any]]:
    """The model on the device, and what it is: counted from its tensors, not taken from the description."""
    import torch
    import transformers

    transformers.AttentionInterface.register(ATTENTION, slot_attention)
    if arguments.checkpoint is not None:
        file, seed = arguments.checkpoint / "config.json", None
        model = transformers.AutoModelForCausalLM.from_pretrained(
            arguments.checkpoint,
            dtype=getattr(torch, arguments.dtype),
            attn_implementation=ATTENTION,
            local_files_only=True,
        ).to(device)
    else:
        file = arguments.description
        described = json.loads(file.read_bytes())
        seed = int(described["seed"])
        shape = dict(described["architecture"])
        config = transformers.AutoConfig.for_model(shape.pop("model_type"), **shape)
        torch.manual_seed(seed)
        with torch.device(device):
            model = transformers.AutoModelForCausalLM.from_config(
                config, dtype=getattr(torch, arguments.dtype), attn_implementation=ATTENTION
            )
    model.eval()
    # Tied tensors appear once in parameters().
    parameters = list(model.parameters())
    return model, {
        "name": type(model).__name__,
        "parameters": sum(tensor.numel() for tensor in parameters),
        "weight_bytes": sum(tensor.numel() * tensor.element_size() for tensor in parameters),
        "dtype": ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in parameters})),
        "layers": int(model.config.num_hidden_layers),
        "random": arguments.checkpoint is None,
        "seed": seed,
        "file_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


class Progress:
    """``progress.json``, rewritten in place of itself for whoever watches: measured requests and tokens so far."""

    def __init__(self, path: Path, requests: list[Request]) -> None:
        self.path = path
        self.requests = requests
        self.stage = "load"
        self.steady_start_ns: int | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Progress":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self._write()

    def _run(self) -> None:
        self._write()
        while not self.stop.wait(PROGRESS_INTERVAL_S):
            self._write()

    def _write(self) -> None:
        now_ns = time.monotonic_ns()
        tokens = sum(len(request.stamps_ns) for request in self.requests)
        since_ns = now_ns - self.steady_start_ns if self.steady_start_ns is not None else 0
        told = {
            "stage": self.stage,
            "answered": sum(1 for request in self.requests if request.ended_ns),
            "expected": len(self.requests),
            "tokens": tokens,
            "throughput_tok_s": tokens / since_ns * 1e9 if since_ns else None,
            "t_mono_ns": now_ns,
        }
        write_whole(self.path, json.dumps(told))


def write_whole(path: Path, text: str) -> None:
    """The file appears complete or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def request_line(request: Request, origin_ns: int) -> str:
    """One line of ``requests.jsonl``; milliseconds, ``submitted_ms`` counted from the start of the steady state."""
    stamps = request.stamps_ns
    return json.dumps({
        "request_index": request.index,
        "submitted_ms": (request.submitted_ns - origin_ns) / 1e6,
        "ttft_ms": (stamps[0] - request.submitted_ns) / 1e6,
        "latency_ms": (request.ended_ns - request.submitted_ns) / 1e6,
        "input_tokens": len(request.input_ids),
        "output_tokens": len(request.tokens),
        "ok": True,
        "error": None,
        "itl_ms": [(after - before) / 1e6 for before, after in itertools.pairwise(stamps)],
    })  # fmt: skip


def peak_resident_bytes() -> int:
    """Peak resident set of this process: VmHWM, proc(5)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Failure("/proc/self/status has no VmHWM line; is /proc mounted?")


def memory_report(device: Any, cache: SlotCache) -> dict[str, Any]:
    """Peaks of the process's own tensors; on a GPU also what the allocator held and what the whole device had in use."""
    import torch

    report: dict[str, Any] = {
        "host_peak_bytes": peak_resident_bytes(),
        "kv_cache": {
            "logged_bytes": cache.allocated_bytes,
            "computed_bytes": cache.computed_bytes,
            "context_tokens": len(cache.positions) * cache.length,
        },
    }
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return report | {
            "source": "torch.cuda.max_memory_allocated",
            "peak_bytes": torch.cuda.max_memory_allocated(device),
            "reserved_peak_bytes": torch.cuda.max_memory_reserved(device),
            "device_used_bytes": total - free,
            "device_total_bytes": total,
        }
    return report | {"source": "VmHWM at the end of the steady state", "peak_bytes": report["host_peak_bytes"]}


def engine_report(device: Any) -> dict[str, Any]:
    import torch
    import transformers

    report: dict[str, Any] = {
        "name": "transformers",
        "version": transformers.__version__,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "device": str(device),
        "device_name": "cpu",
    }
    if device.type == "cuda":
        report |= {"device_name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return report


def benchmark(arguments: argparse.Namespace, output: Path) -> None:
    clocks = {"process_start": PROCESS_START}
    requests = read_dataset(arguments.dataset, arguments.requests)
    warmups = [
        Request(index, source.input_ids, source.output_tokens)
        for index, source in zip(range(arguments.warmup_requests), itertools.cycle(requests), strict=False)
    ]
    length = max(len(request.input_ids) + request.output_tokens for request in requests)
    with Progress(output / "progress.json", requests) as progress:
        import torch

        clocks["imported"] = time.monotonic_ns()
        wanted = arguments.device
        if wanted == "auto":
            wanted = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(wanted, 0) if wanted == "cuda" else torch.device(wanted)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise Failure("PyTorch finds no CUDA device; are the device nodes and the driver's libraries there?")
        graphs = device.type == "cuda" and arguments.cuda_graphs == "on"
        with torch.inference_mode():
            model, built = build(arguments, device)
            window = getattr(model.config, "sliding_window", None)
            if window is not None and window < length and getattr(model.config, "use_sliding_window", True):
                raise Failure(
                    f"{built['name']} attends to a window of {window} tokens; requests of {length} are not supported"
                )
            decoder = Decoder(model, arguments.concurrency, length, device, graphs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            clocks["load_end"] = time.monotonic_ns()
            progress.stage = "warmup"
            decoder.answer(warmups)
            clocks["warmup_end"] = time.monotonic_ns()
            progress.stage = "steady"
            progress.steady_start_ns = clocks["steady_start"] = time.monotonic_ns()
            cpu_before_ns = time.process_time_ns()
            decoder.answer(requests)
            clocks["steady_end"] = time.monotonic_ns()
            cpu_s = (time.process_time_ns() - cpu_before_ns) / 1e9
        memory = memory_report(device, decoder.cache)
    clocks["first_token"] = min(request.stamps_ns[0] for request in requests)
    steady_s = (clocks["steady_end"] - clocks["steady_start"]) / 1e9
    tokens = sum(len(request.tokens) for request in requests)
    report = {
        "schema": SCHEMA,
        "engine": engine_report(device),
        "model": built,
        "settings": {
            "threads": torch.get_num_threads(),
            "concurrency": arguments.concurrency,
            "slot_context": length,
            "warmup_requests": arguments.warmup_requests,
            "cuda_graphs": graphs,
            "affinity": sorted(os.sched_getaffinity(0)),
        },
        "requests": {"expected": arguments.requests, "answered": len(requests), "failed": 0},
        "tokens": {
            "input": sum(len(request.input_ids) for request in requests),
            "output": tokens,
            "output_expected": sum(request.output_tokens for request in requests),
            "messages": tokens,
            "output_sha256": hashlib.sha256(json.dumps([request.tokens for request in requests]).encode()).hexdigest(),
        },
        "performance": {
            "steady_s": steady_s,
            "cpu_s": cpu_s,
            "token_throughput_tok_s": tokens / steady_s,
            "request_throughput_req_s": len(requests) / steady_s,
        },
        "memory": memory,
        "clocks_ns": clocks,
    }
    origin = clocks["steady_start"]
    write_whole(output / "requests.jsonl", "".join(request_line(request, origin) + "\n" for request in requests))
    clocks["report"] = time.monotonic_ns()
    write_whole(output / "report.json", json.dumps(report, indent=1) + "\n")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    def positive(text: str) -> int:
        if int(text) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return int(text)

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--description", type=Path, metavar="FILE", help="JSON: architecture (a config), seed")
    model.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="local Hugging Face checkpoint")
    parser.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="prompts, one JSON object per line")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    parser.add_argument("--requests", type=positive, required=True, help="measured requests")
    parser.add_argument("--concurrency", type=positive, required=True, help="slots that decode together")
    parser.add_argument("--warmup-requests", type=int, default=2, help="requests before the measured ones")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--cuda-graphs", choices=("on", "off"), default="on", help="decode by CUDA graph on a GPU")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    if os.getpid() == 1:
        # The first process of a container ignores a SIGTERM that it has no handler for; elsewhere the default ends it.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = parse_arguments(argv)
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        benchmark(arguments, arguments.output)
    except (
        Failure,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        MemoryError,
        ImportError,
        RuntimeError,
    ) as error:
        # torch.OutOfMemoryError is a RuntimeError
        message = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
        print(f"transformers_bench: {message}", file=sys.stderr, flush=True)
        return 1
    sys.stdout.flush()
    # Everything is on disk; taking the model apart would only lengthen the teardown.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
