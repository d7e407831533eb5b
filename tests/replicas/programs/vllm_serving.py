"""``vllm serve`` and ``vllm bench serve``: a server with a real port, and the client that measures it."""

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
import time
import urllib.parse
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

from . import failing, machine, vllm_engine
from .serving import PREFILL_S, STEP_S
from .trtllm_options import line
from .vllm_engine import CORE, SERVER, bar, say

POLL_S = 0.1
"""How often the client looks whether the server is up."""

WORDS = [
    "the",
    "engine",
    "answers",
    "what",
    "it",
    "was",
    "asked",
    "in",
    "words",
    "that",
    "make",
    "some",
    "sense",
    "to",
    "those",
    "who",
    "read",
    "them",
    "one",
    "after",
    "another",
] * 20
"""As many as an answer may have: the shakedown looks whether they are language."""


# --- server -------------------------------------------------------------------------------------------------------


def serve(given: Namespace) -> None:
    model = given.model_tag or given.model
    for text in ("", f"  version {machine.version()}", f"  model   {model}", ""):
        say(text, "utils.py:344", prefix=SERVER)
    fails = vllm_engine.start(model, given)
    server = ThreadingHTTPServer((given.host or "0.0.0.0", given.port), Completions)
    server.daemon_threads = True
    server.given, server.name, server.fails = given, given.served_model_name or model, fails  # type: ignore[attr-defined]
    server.places = threading.Semaphore(given.max_num_seqs or 256)  # type: ignore[attr-defined]
    server.served = [0, 0]  # type: ignore[attr-defined]
    say(f"Starting vLLM server on http://{given.host}:{given.port}", "api_server.py:596", prefix=SERVER)
    print(f"{SERVER}INFO:     Application startup complete.", flush=True)
    server.serve_forever()


class Completions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, format: str, *words: Any) -> None:
        print(f"{SERVER}INFO:     {self.client_address[0]}:{self.client_address[1]} - {format % words}", flush=True)

    def do_GET(self) -> None:
        if self.path == "/metrics":
            queries, _ = self.server.served
            return self._answer(
                200, f"vllm:prefix_cache_queries_total {queries}.0\nvllm:prefix_cache_hits_total 0.0\n", "text/plain"
            )
        if self.path == "/v1/models":
            return self._answer(200, json.dumps({"data": [{"id": self.server.name}]}))
        return self._answer(200 if self.path in ("/health", "/ping", "/version") else 404, "{}")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            return self._answer(404, "{}")
        if asked["model"] != self.server.name:
            return self._answer(
                404, json.dumps({"error": {"message": f"The model `{asked['model']}` does not exist."}})
            )
        prompt, most = len(asked["prompt"].split()), asked["max_tokens"]
        if prompt + most > self.server.given.max_model_len:
            what = f"This model's maximum context length is {self.server.given.max_model_len} tokens."
            return self._answer(400, json.dumps({"error": {"message": what}}))
        if self.server.served[1] and self.server.fails == "hang_in_decode":
            failing.hang()
        if self.server.served[1] and self.server.fails == "out_of_memory_serving":
            out_of_memory()
        self.server.served[0] += prompt
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with self.server.places:
            for number in range(most):
                time.sleep(STEP_S if number else PREFILL_S)
                self._event({"choices": [{"index": 0, "text": " word"}], "usage": None})
        self._event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": most}})
        self.wfile.write(b"data: [DONE]\n\n")
        self.server.served[1] += 1
        self.close_connection = True
        return None

    def _event(self, what: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(what).encode() + b"\n\n")
        self.wfile.flush()

    def _answer(self, code: int, text: str, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def out_of_memory() -> None:
    say("EngineCore encountered a fatal error.", "core.py:851", "ERROR", CORE)
    say("Traceback (most recent call last):", "core.py:851", "ERROR", CORE)
    say("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.40 GiB.", "core.py:851", "ERROR", CORE)
    sys.stdout.flush()
    import os

    os._exit(1)


# --- client -------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    input_tokens: int
    start: float = 0.0
    ttft: float = 0.0
    itls: list[float] = field(default_factory=list)
    output_tokens: int = 0
    latency: float = 0.0
    error: str = ""


def bench(given: Namespace) -> None:
    print(given, flush=True)
    chance = random.Random(given.seed)
    wanted, most = given.random_input_len, given.random_output_len
    lengths = with_surplus([wanted] * given.num_prompts)
    prompts = [" ".join(f"t{chance.randrange(32000)}" for _ in range(length)) for length in lengths]
    say(f"Sampling input_len from [{wanted}, {wanted}] and output_len from [{most}, {most}]", "utils.py:90")
    base = urllib.parse.urlparse(given.base_url or f"http://{given.host or '127.0.0.1'}:{given.port}")

    def ask(prompt: str) -> Answer:
        return _ask(
            base.netloc, given.endpoint or "/v1/completions", given.served_model_name or given.model, prompt, most
        )

    patience = given.ready_check_timeout_sec
    if patience:
        print(
            "Starting initial single prompt test run...\n" + f"Waiting for endpoint to become up in {patience} seconds",
            flush=True,
        )
        deadline = time.monotonic() + patience
        while (first := ask(prompts[0])).error:
            say(f"Endpoint is not ready. Error='{first.error}'", "ready_checker.py:70", "WARNING")
            if time.monotonic() > deadline:
                raise ValueError(
                    "Initial test run failed - Please make sure benchmark arguments are correctly specified. Error: "
                    f"{first.error}"
                )
            time.sleep(POLL_S)
        print("Initial test run completed.", flush=True)
    for _ in range(given.num_warmups if "num_warmups" in given else 0):
        ask(prompts[0])
    print("Starting main benchmark run...", flush=True)
    began = time.perf_counter()
    answers: list[Answer] = []
    with ThreadPoolExecutor(given.max_concurrency or len(prompts)) as pool:
        for answer in pool.map(ask, prompts):
            answers.append(answer)
            bar("", len(answers), len(prompts))
    duration = time.perf_counter() - began
    print(file=sys.stderr, flush=True)
    result = _result(given, answers, duration)
    print(f"{' Serving Benchmark Result ':=^50}", flush=True)
    print(f"Successful requests:                     {result['completed']}", flush=True)
    print(f"Failed requests:                         {len(answers) - result['completed']}", flush=True)
    print(f"Benchmark duration (s):                  {duration:.2f}", flush=True)
    print(f"Output token throughput (tok/s):         {result['output_throughput']:.2f}", flush=True)
    if given.save_result:
        Path(given.result_dir or ".", given.result_filename).write_text(json.dumps(result))


def with_surplus(lengths: list[int]) -> list[int]:
    """A random prompt is decoded to text and encoded again, and may come back a token longer."""
    surplus = sum(lengths) // 128
    if surplus:
        say(
            f"Across all generated prompts, there were {surplus} more tokens than expected after decoding and "
            "re-encoding. This is expected due to the imperfect nature of the sampling procedure.",
            "datasets.py:659",
            "WARNING",
        )
    return [length + (number < surplus) for number, length in enumerate(lengths)]


def _ask(where: str, endpoint: str, model: str, prompt: str, most: int) -> Answer:
    """One streamed completion."""
    answer = Answer(input_tokens=len(prompt.split()), start=time.perf_counter())
    body = {"model": model, "prompt": prompt, "max_tokens": most, "stream": True, "ignore_eos": True}
    connection = http.client.HTTPConnection(where, timeout=6 * 3600)
    try:
        connection.request("POST", endpoint, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            answer.error = f"{response.status} {response.read().decode()}"
            return answer
        last = answer.start
        for text in response:
            if not text.startswith(b"data: {"):
                continue
            now, event = time.perf_counter(), json.loads(text[6:])
            if event["usage"]:
                answer.output_tokens = event["usage"]["completion_tokens"]
            elif not answer.ttft:
                answer.ttft = now - answer.start
            else:
                answer.itls.append(now - last)
            last = now
        answer.latency = last - answer.start
        if not answer.output_tokens:
            answer.error = "the answer broke off"
    except OSError as error:
        answer.error = f"Cannot connect to host {where} ssl:default [{error}]"
    finally:
        connection.close()
    return answer


def percentile(values: list[float], q: float) -> float:
    """Interpolated, as numpy does."""
    ranked = sorted(values)
    place = (len(ranked) - 1) * q / 100
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


def _result(given: Namespace, answers: list[Answer], duration: float) -> dict[str, Any]:
    good = [answer for answer in answers if not answer.error]
    prompts, generated = sum(a.input_tokens for a in good), sum(a.output_tokens for a in good)
    result: dict[str, Any] = {
        "date": time.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": given.backend or "vllm",
        "backend": given.backend or "vllm",
        "label": given.label,
        "model_id": given.model,
        "tokenizer_id": given.tokenizer or given.model,
        "num_prompts": len(answers),
        "request_rate": given.request_rate or "inf",
        "burstiness": 1.0,
        "max_concurrency": given.max_concurrency,
        "duration": duration,
        "completed": len(good),
        "failed": len(answers) - len(good),
        "total_input_tokens": prompts,
        "total_output_tokens": generated,
        "request_throughput": len(good) / duration,
        "request_goodput": None,
        "output_throughput": generated / duration,
        "total_token_throughput": (prompts + generated) / duration,
        "max_output_tokens_per_s": float(generated),
        "max_concurrent_requests": min(given.max_concurrency or len(answers), len(answers)),
    }
    if line(machine.version()) < (0, 12):
        del result["failed"]
    figures = {
        "ttft": [a.ttft for a in good],
        "tpot": [(a.latency - a.ttft) / (a.output_tokens - 1) for a in good if a.output_tokens > 1],
        "itl": [gap for a in good for gap in a.itls],
        "e2el": [a.latency for a in good],
    }
    for name in (given.percentile_metrics or "ttft,tpot,itl").split(","):
        ms = [1e3 * value for value in figures[name]] or [0.0]
        result |= {f"mean_{name}_ms": fmean(ms), f"median_{name}_ms": median(ms), f"std_{name}_ms": pstdev(ms)}
        result |= {f"p{q}_{name}_ms": percentile(ms, float(q)) for q in (given.metric_percentiles or "99").split(",")}
    if given.save_detailed:
        result |= {
            "input_lens": [a.input_tokens for a in answers],
            "output_lens": [a.output_tokens for a in answers],
            "ttfts": [a.ttft for a in answers],
            "itls": [a.itls for a in answers],
            "start_times": [a.start for a in answers],
            "generated_texts": [
                "".join(f" {word}" for word in WORDS[i : i + a.output_tokens]) for i, a in enumerate(answers)
            ],
            "errors": [a.error for a in answers],
        }
    return result
