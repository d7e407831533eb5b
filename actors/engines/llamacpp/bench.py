"""The program that runs inside every arm: llama.cpp under a closed loop of streaming requests.

It needs the Python interpreter and ``xllamacpp``, nothing else; every setting is an argument, so that a recorded
command line can be pasted. ``--concurrency`` clients each keep one request in flight; a request's clock starts when it
is handed to a free slot, so latency is service time and not the length of a queue. Clocks are CLOCK_MONOTONIC
nanoseconds, the same inside and outside a container.

Files in ``--output``: ``report.json`` (appears complete or not at all, last), ``requests.jsonl`` (one line per measured
request, by request_index), ``progress.json`` (at most twice a second), ``engine.log`` (what llama.cpp said).
Exit code 0 means the report is there; 1 that the reason is on stderr.
"""

import time

PROCESS_START = time.monotonic_ns()

import argparse  # noqa: E402
import hashlib  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

SCHEMA = 1
SLOT_CONTEXT_STEP = 256
"""llama.cpp rounds the context of a slot up to a multiple of this."""
PROGRESS_INTERVAL_S = 0.5
GIB = 2**30


class Failure(Exception):
    """Why there is no report. The message is for the person."""


@dataclass
class Request:
    """One request and its clocks. ``stamps_ns`` gets one entry per streamed chunk and one for the closing message."""

    index: int
    body: bytes
    input_tokens: int
    output_tokens: int
    submitted_ns: int = 0
    ended_ns: int = 0
    stamps_ns: list[int] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    closing: bytes = b""
    answer: str = ""
    error: str | None = None
    answered_tokens: int = 0


def read_dataset(path: Path, expected: int) -> list[Request]:
    """Requests in file order; the body is encoded here so that the measured interval does not pay for it."""
    requests: list[Request] = []
    with path.open(encoding="utf-8") as lines:
        for line in itertools.islice(lines, expected):
            entry = json.loads(line)
            requests.append(
                Request(len(requests), body(entry["input_ids"], entry["output_tokens"]),
                        len(entry["input_ids"]), entry["output_tokens"])
            )  # fmt: skip
    if len(requests) < expected:
        raise Failure(f"{path} holds {len(requests)} requests, {expected} were asked for")
    return requests


def body(input_ids: list[int], output_tokens: int) -> bytes:
    """Greedy, exact output length, nothing remembered from earlier prompts."""
    return json.dumps(
        {
            "prompt": input_ids,
            "max_tokens": output_tokens,
            "stream": True,
            "ignore_eos": True,
            "cache_prompt": False,
            "temperature": 0.0,
            "samplers": ["top_k"],
            "top_k": 1,
        }
    ).encode()


def load(model: Path, threads: int, concurrency: int, slot_context: int) -> Any:
    import xllamacpp as llama

    params = llama.CommonParams()
    params.model.path = str(model)
    # Read the file into memory instead of mapping it: page faults then belong to the load stage, not to the first
    # tokens, and the memory is the process's own in both arms.
    params.load_mode = llama.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.n_parallel = concurrency
    params.n_ctx = concurrency * slot_context
    params.kv_unified = False
    params.cont_batching = True
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = threads
        cpu.poll = 0
        cpu.priority = llama.ggml_sched_priority.GGML_SCHED_PRIO_NORMAL
    params.warmup = False
    params.fit_params = False
    # Nothing may make a repeated prompt cheaper than a new one.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.n_ctx_checkpoints = 0
    params.slot_prompt_similarity = 0.0
    params.use_jinja = False
    params.ui = False
    params.endpoint_slots = False
    params.n_threads_http = 1
    params.verbosity = 4  # the first level that tells the size of the KV cache
    try:
        return llama.Server(params)
    except RuntimeError as error:
        raise Failure(f"llama.cpp could not load {model}: {error}") from None


def ask(server: Any, request: Request) -> None:
    """Submit one request and wait until it is answered. The callback runs once per token: keep it trivial."""
    stamp, keep, now = request.stamps_ns.append, request.chunks.append, time.monotonic_ns

    def on_chunk(chunk: bytes) -> None:
        stamp(now())
        keep(chunk)

    request.submitted_ns = now()
    try:
        server.handle_completions(request.body, on_chunk)
    except Exception as error:
        request.error = f"{type(error).__name__}: {error}"
    request.ended_ns = now()


def ask_all(server: Any, requests: list[Request], concurrency: int) -> None:
    """Closed loop: each client takes the next request, in order, as soon as its previous one is answered."""
    following = itertools.count()

    def client() -> None:
        while (index := next(following)) < len(requests):
            ask(server, requests[index])

    clients = [threading.Thread(target=client, daemon=True) for _ in range(min(concurrency, len(requests)))]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()


def settle(request: Request) -> None:
    """Read the messages of a request: the answer's text, and in the closing one what llama.cpp says it did."""
    request.closing = request.chunks[-1] if request.chunks else b""
    if request.error is None:
        try:
            closing = json.loads(request.closing)
            if "error" in closing:
                request.error = str(closing["error"].get("message", closing["error"]))
            else:
                request.answered_tokens = int(closing["usage"]["completion_tokens"])
                request.answer = "".join(json.loads(chunk)["choices"][0]["text"] for chunk in request.chunks[:-1])
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            request.error = f"no closing message: {request.closing[:200]!r}"
    request.stamps_ns = request.stamps_ns[:-1] if request.closing else []
    if request.error is None and request.answered_tokens != request.output_tokens:
        request.error = f"{request.answered_tokens} tokens instead of {request.output_tokens}"


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
        write_whole(self.path, json.dumps(told), durable=False)


def write_whole(path: Path, text: str, *, durable: bool) -> None:
    """The file appears complete or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(path)


def request_line(request: Request, origin_ns: int) -> str:
    """One line of ``requests.jsonl``; milliseconds, ``submitted_ms`` counted from the start of the steady state."""
    stamps = request.stamps_ns
    return json.dumps({
        "request_index": request.index,
        "submitted_ms": (request.submitted_ns - origin_ns) / 1e6,
        "ttft_ms": (stamps[0] - request.submitted_ns) / 1e6 if stamps else None,
        "latency_ms": (request.ended_ns - request.submitted_ns) / 1e6,
        "input_tokens": request.input_tokens,
        "output_tokens": request.answered_tokens,
        "ok": request.error is None,
        "error": request.error,
        "itl_ms": [(after - before) / 1e6 for before, after in itertools.pairwise(stamps)],
        "answer": request.answer if request.error is None else None,
    })  # fmt: skip


def loaded_model(address: str) -> dict[str, Any]:
    """What the server says of the model it holds: ``GET /v1/models`` over loopback. Exact parameter count."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    meta: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])["data"][0]["meta"]
    return meta


def said(log: str, pattern: str, what: str) -> str:
    """The last thing that llama.cpp's log says about ``what`` (it may measure a trial context first)."""
    found: list[str] = re.findall(pattern, log)
    if not found:
        raise Failure(f"llama.cpp's log does not tell the {what} (looked for {pattern!r} in engine.log)")
    return found[-1].strip()


def model_report(log: str, address: str, model: Path) -> dict[str, Any]:
    meta = loaded_model(address)
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "name": said(log, r"print_info: general\.name\s+= (.*)", "model's name"),
        "parameters": int(meta["n_params"]),
        "weight_bytes": int(meta["size"]),
        "precision": str(meta.get("ftype", "")),
        "file_sha256": digest,
    }


def kv_cache_report(log: str) -> dict[str, Any]:
    """Size of the KV cache as llama.cpp allocated it and as its shape demands, both in bytes."""

    def size(name: str) -> int:
        return int(said(log, rf"print_info: {name}\s+= (\d+)", name))

    context = int(said(log, r"llama_context: n_ctx\s+= (\d+)", "context size"))
    return {
        "logged_bytes": round(float(said(log, r"llama_kv_cache: size =\s+([\d.]+) MiB", "KV cache size")) * 2**20),
        "computed_bytes": size("n_layer") * (size("n_embd_k_gqa") + size("n_embd_v_gqa")) * 2 * context,
        "context_tokens": context,
    }  # fmt: skip


def peak_memory_bytes() -> int:
    """Peak resident set of this process: VmHWM, proc(5)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Failure("/proc/self/status has no VmHWM line; is /proc mounted?")


def benchmark(arguments: argparse.Namespace, output: Path, log: Path) -> None:
    clocks = {"process_start": PROCESS_START}
    requests = read_dataset(arguments.dataset, arguments.requests)
    longest = max(request.input_tokens + request.output_tokens for request in requests)
    slot_context = -(-longest // SLOT_CONTEXT_STEP) * SLOT_CONTEXT_STEP
    warmups = [
        Request(index, source.body, source.input_tokens, source.output_tokens)
        for index, source in zip(range(arguments.warmup_requests), itertools.cycle(requests), strict=False)
    ]
    with Progress(output / "progress.json", requests) as progress:
        clocks["load_start"] = time.monotonic_ns()
        server = load(arguments.model, arguments.threads, arguments.concurrency, slot_context)
        clocks["load_end"] = time.monotonic_ns()
        progress.stage = "warmup"
        ask_all(server, warmups, arguments.concurrency)
        clocks["warmup_end"] = time.monotonic_ns()
        progress.stage = "steady"
        progress.steady_start_ns = clocks["steady_start"] = time.monotonic_ns()
        cpu_before_ns = time.process_time_ns()
        ask_all(server, requests, arguments.concurrency)
        clocks["steady_end"] = time.monotonic_ns()
        cpu_s = (time.process_time_ns() - cpu_before_ns) / 1e9
        peak_bytes = peak_memory_bytes()
    for request in (*warmups, *requests):
        settle(request)
    if failed := [request for request in warmups if request.error]:
        raise Failure(f"{len(failed)} of {len(warmups)} warm-up requests failed; the first: {failed[0].error}")
    firsts = [request.stamps_ns[0] for request in requests if request.stamps_ns]
    if not firsts:
        raise Failure(f"no request was answered; the first error: {requests[0].error}")
    clocks["first_token"] = min(firsts)

    import xllamacpp as llama

    address = server.listening_address
    text = log.read_text(encoding="utf-8", errors="replace")
    steady_s = (clocks["steady_end"] - clocks["steady_start"]) / 1e9
    answered = [request for request in requests if request.error is None]
    tokens = sum(request.answered_tokens for request in answered)
    report = {
        "schema": SCHEMA,
        "engine": {
            "name": "llamacpp",
            "version": llama.__version__,
            "build": llama.BUILD_INFO,
            "system": llama.get_system_info(),
            "python": sys.version.split()[0],
        },
        "model": model_report(text, address, arguments.model),
        "settings": {
            "threads": arguments.threads,
            "concurrency": arguments.concurrency,
            "slot_context": slot_context,
            "warmup_requests": arguments.warmup_requests,
            "affinity": sorted(os.sched_getaffinity(0)),
            "openmp": {name: value for name, value in os.environ.items() if name.startswith(("OMP_", "GOMP_"))},
        },
        "requests": {
            "expected": arguments.requests,
            "answered": len(answered),
            "failed": len(requests) - len(answered),
        },
        "tokens": {
            "input": sum(request.input_tokens for request in answered),
            "output": tokens,
            "output_expected": sum(request.output_tokens for request in requests),
            "messages": sum(len(request.stamps_ns) for request in answered),
        },
        "performance": {
            "steady_s": steady_s,
            "cpu_s": cpu_s,
            "token_throughput_tok_s": tokens / steady_s,
            "request_throughput_req_s": len(answered) / steady_s,
        },
        "memory": {"peak_bytes": peak_bytes, "kv_cache": kv_cache_report(text)},
        "clocks_ns": clocks,
    }
    origin = clocks["steady_start"]
    lines = "".join(request_line(request, origin) + "\n" for request in requests)
    write_whole(output / "requests.jsonl", lines, durable=False)
    del server
    clocks["report"] = time.monotonic_ns()
    write_whole(output / "report.json", json.dumps(report, indent=1) + "\n", durable=False)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    def positive(text: str) -> int:
        if int(text) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return int(text)

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="GGUF file")
    parser.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="prompts, one JSON object per line")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    parser.add_argument("--requests", type=positive, required=True, help="measured requests")
    parser.add_argument("--concurrency", type=positive, required=True, help="requests in flight")
    parser.add_argument("--warmup-requests", type=int, default=2, help="requests before the measured ones")
    parser.add_argument("--threads", type=positive, required=True, help="compute threads")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    if os.getpid() == 1:
        # The first process of a container ignores a SIGTERM that it has no handler for; elsewhere the default ends it.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = parse_arguments(argv)
    terminal = os.dup(2)
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        log = arguments.output / "engine.log"
        # llama.cpp writes to file descriptor 2, its own thread also when all is done. A file in the output folder costs
        # the same in every arm; a container's log stream does not.
        with log.open("wb") as file:
            os.dup2(file.fileno(), 2)
        benchmark(arguments, arguments.output, log)
    except (Failure, OSError, ValueError, KeyError, MemoryError, ImportError) as error:
        message = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
        os.write(terminal, f"llamacpp_bench: {message}\n".encode(errors="replace"))
        return 1
    except BaseException:
        os.dup2(terminal, 2)  # for its traceback
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
