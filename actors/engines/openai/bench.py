"""The program that runs inside every arm: a closed loop of streaming completions
against a server that speaks OpenAI's interface.

It needs a Python interpreter and nothing else. With ``--start`` it starts the server first, in a shell, waits until
``/v1/models`` answers, and ends it afterwards (``--stop``, else SIGTERM); without, the server must be there. Clocks are
CLOCK_MONOTONIC nanoseconds.

Files in ``--output``: ``report.json`` (appears complete or not at all, last), ``requests.jsonl`` (one line per measured
request, by request_index), ``progress.json`` (at most twice a second), ``server.log``. Exit code 0 means the report is
there; 1 that the reason is on stderr.
"""

import argparse
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1
PROGRESS_INTERVAL_S = 0.5
REQUEST_S = 3600.0


class Failure(Exception):
    """Why there is no report. The message is for the person."""


@dataclass
class Request:
    """One request and its clocks. ``stamps_ns`` has one entry for each message that brought text."""

    index: int
    body: bytes
    input_tokens: int
    output_tokens: int
    submitted_ns: int = 0
    ended_ns: int = 0
    stamps_ns: list[int] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    answered_tokens: int | None = None
    model: str | None = None
    error: str | None = None


def read_dataset(path: Path, expected: int, model: str) -> list[Request]:
    """Requests in file order; the body is encoded here so that the measured interval does not pay for it."""
    requests: list[Request] = []
    with path.open(encoding="utf-8") as lines:
        for line in itertools.islice(lines, expected):
            entry = json.loads(line)
            asked = {
                "model": model,
                "prompt": entry["input_ids"],
                "max_tokens": entry["output_tokens"],
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
                "ignore_eos": True,
                "cache_prompt": False,
            }
            body = json.dumps(asked).encode()
            requests.append(Request(len(requests), body, len(entry["input_ids"]), entry["output_tokens"]))
    if len(requests) < expected:
        raise Failure(f"{path} holds {len(requests)} requests, {expected} were asked for")
    return requests


def connection(url: urllib.parse.ParseResult, timeout_s: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.hostname or "127.0.0.1", url.port or 80, timeout=timeout_s)


def served_models(url: urllib.parse.ParseResult) -> list[str]:
    """``GET /v1/models``. Raises OSError or ValueError while the server is not ready."""
    asking = connection(url, 10)
    try:
        asking.request("GET", f"{url.path.rstrip('/')}/models")
        answer = asking.getresponse()
        if answer.status != 200:
            raise ValueError(f"{answer.status} {answer.reason}")
        return [str(one["id"]) for one in json.loads(answer.read())["data"]]
    finally:
        asking.close()


def wait_until_ready(
    url: urllib.parse.ParseResult, server: "subprocess.Popen[bytes] | None", ready_s: float
) -> list[str]:
    deadline = time.monotonic() + ready_s
    why = "it was never asked"
    while time.monotonic() < deadline:
        if server is not None and server.poll() is not None:
            raise Failure(f"the server ended with {server.returncode} before it was ready")
        try:
            return served_models(url)
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as problem:
            why = f"{type(problem).__name__}: {problem}"
        time.sleep(0.1)
    raise Failure(f"{url.geturl()} is not ready within {ready_s:g} s ({why})")


def ask(url: urllib.parse.ParseResult, request: Request) -> None:
    """Submit one request and wait until it is answered."""
    asking = connection(url, REQUEST_S)
    try:
        asking.connect()
        request.submitted_ns = time.monotonic_ns()
        asking.request(
            "POST", f"{url.path.rstrip('/')}/completions", request.body, {"Content-Type": "application/json"}
        )
        answer = asking.getresponse()
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {answer.read(500).decode(errors='replace')}")
        for line in answer:
            data = line[5:].strip()
            if line.startswith(b"data:") and data == b"[DONE]":
                break
            if line.startswith(b"data:"):
                take(request, data, time.monotonic_ns())
    except (OSError, ValueError, KeyError, TypeError, IndexError, http.client.HTTPException) as problem:
        request.error = f"{type(problem).__name__}: {problem}"
    finally:
        request.ended_ns = time.monotonic_ns()
        asking.close()
    if request.error is None and request.answered_tokens is None:
        request.error = "the server tells no usage, so that its tokens are not known"
    if request.error is None and request.answered_tokens != request.output_tokens:
        request.error = f"{request.answered_tokens} tokens instead of {request.output_tokens}"


def take(request: Request, data: bytes, now_ns: int) -> None:
    """Add one event of the stream, which came at ``now_ns``, to what is known of the answer."""
    message = json.loads(data)
    if "error" in message:
        raise ValueError(str(message["error"]))
    request.model = message.get("model") or request.model
    choices = message.get("choices") or [{}]
    if choices[0].get("text"):
        request.stamps_ns.append(now_ns)
        request.answer.append(choices[0]["text"])
    if message.get("usage"):
        request.answered_tokens = int(message["usage"]["completion_tokens"])


def ask_all(url: urllib.parse.ParseResult, requests: list[Request], concurrency: int) -> None:
    """Closed loop: each client takes the next request, in order, as soon as its previous one is answered."""
    following = itertools.count()

    def client() -> None:
        while (index := next(following)) < len(requests):
            ask(url, requests[index])

    clients = [threading.Thread(target=client, daemon=True) for _ in range(min(concurrency, len(requests)))]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()


def write_whole(path: Path, text: str) -> None:
    """The file appears complete or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


class Progress(threading.Thread):
    """``progress.json`` for whoever watches."""

    def __init__(self, path: Path, requests: list[Request]) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.requests = requests
        self.stage = "load"
        self.began_ns: int | None = None
        self.stop = threading.Event()

    def run(self) -> None:
        while True:
            tokens = sum(len(request.stamps_ns) for request in self.requests)
            since_s = (time.monotonic_ns() - self.began_ns) / 1e9 if self.began_ns else 0.0
            told = {
                "stage": self.stage,
                "answered": sum(1 for request in self.requests if request.ended_ns),
                "expected": len(self.requests),
                "tokens": tokens,
                "throughput_tok_s": tokens / since_s if since_s else None,
                "t_mono_ns": time.monotonic_ns(),
            }
            write_whole(self.path, json.dumps(told))
            if self.stop.wait(PROGRESS_INTERVAL_S):
                return


def line_of(request: Request, origin_ns: int) -> str:
    stamps = request.stamps_ns
    told: dict[str, Any] = {
        "request_index": request.index,
        "submitted_ms": (request.submitted_ns - origin_ns) / 1e6,
        "ttft_ms": (stamps[0] - request.submitted_ns) / 1e6 if stamps else None,
        "latency_ms": (request.ended_ns - request.submitted_ns) / 1e6,
        "input_tokens": request.input_tokens,
        "output_tokens": request.answered_tokens or 0,
        "ok": request.error is None,
        "error": request.error,
        "itl_ms": [(after - before) / 1e6 for before, after in itertools.pairwise(stamps)],
        "answer": "".join(request.answer) if request.error is None else None,
    }
    return json.dumps(told)


def benchmark(asked: argparse.Namespace, server: "subprocess.Popen[bytes] | None") -> None:
    url, output = urllib.parse.urlparse(asked.url), asked.output
    requests = read_dataset(asked.dataset, asked.requests, asked.model)
    sources = itertools.islice(itertools.cycle(requests), asked.warmup_requests)
    warmups = [Request(index, one.body, one.input_tokens, one.output_tokens) for index, one in enumerate(sources)]
    progress = Progress(output / "progress.json", requests)
    progress.start()
    clocks = {"load_start": time.monotonic_ns()}
    models = wait_until_ready(url, server, asked.ready_s)
    clocks["load_end"] = time.monotonic_ns()
    if asked.model not in models:
        raise Failure(f"model_identity: asked for {asked.model}, the server has {', '.join(models) or 'none'}")
    progress.stage = "warmup"
    ask_all(url, warmups, asked.concurrency)
    clocks["warmup_end"] = time.monotonic_ns()
    if failed := [one for one in warmups if one.error]:
        raise Failure(f"{len(failed)} of {len(warmups)} warm-up requests failed; the first: {failed[0].error}")
    progress.stage = "steady"
    progress.began_ns = clocks["steady_start"] = time.monotonic_ns()
    ask_all(url, requests, asked.concurrency)
    clocks["steady_end"] = time.monotonic_ns()
    progress.stop.set()
    progress.join()
    firsts = [request.stamps_ns[0] for request in requests if request.stamps_ns]
    if not firsts:
        raise Failure(f"no request was answered; the first error: {requests[0].error}")
    clocks["first_token"] = min(firsts)
    lines = "".join(line_of(request, clocks["steady_start"]) + "\n" for request in requests)
    write_whole(output / "requests.jsonl", lines)
    report = {
        "schema": SCHEMA,
        "engine": {"name": "openai", "python": sys.version.split()[0]},
        "model": {
            "asked": asked.model,
            "served": models,
            "answered": sorted({one.model for one in requests if one.model}),
        },
        "settings": {"concurrency": asked.concurrency, "warmup_requests": asked.warmup_requests, "url": asked.url},
        "clocks_ns": clocks,
    }
    write_whole(output / "report.json", json.dumps(report, indent=1) + "\n")


def end(server: "subprocess.Popen[bytes]", stop: str) -> None:
    """The server and what it started are gone when this returns."""
    if stop:
        subprocess.run(["sh", "-c", stop], check=False, timeout=60)
    for number, patience_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        try:
            server.wait(patience_s)
            break
        except subprocess.TimeoutExpired:
            continue


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--url", required=True, help="base of the interface, as http://127.0.0.1:8000/v1")
    parser.add_argument("--model", required=True, help="what the server calls the model")
    parser.add_argument("--dataset", type=Path, required=True, help="prompts, one JSON object per line")
    parser.add_argument("--output", type=Path, required=True, help="where the report goes")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True, help="requests in flight")
    parser.add_argument("--warmup-requests", type=int, default=2)
    parser.add_argument("--ready-s", type=float, default=1800.0, help="how long the server may take to load")
    parser.add_argument("--start", default="", help="shell command of the server; empty where it runs already")
    parser.add_argument("--stop", default="", help="shell command that ends it, before SIGTERM")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server: subprocess.Popen[bytes] | None = None
    try:
        if asked.start:
            with (asked.output / "server.log").open("wb") as log:
                server = subprocess.Popen(
                    ["sh", "-c", asked.start], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        benchmark(asked, server)
    except (Failure, OSError, ValueError, KeyError) as error:
        message = str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
        print(f"openai_bench: {message}", file=sys.stderr)
        return 1
    finally:
        if server is not None:
            end(server, asked.stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
