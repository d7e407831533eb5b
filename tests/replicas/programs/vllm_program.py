"""``vllm``: ``bench throughput``, ``bench serve`` and ``serve``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from . import failing, machine, vllm_engine, vllm_serving
from .serving import Served
from .serving import serve as serve_batch
from .vllm_engine import bar, say
from .vllm_options import parser


def main() -> None:
    machine.load_libraries()
    version = machine.version()
    words = sys.argv[1:]
    if words[:1] == ["serve"]:
        vllm_serving.serve(parser("serve", version).parse_args(words[1:]))
    elif words[:2] == ["bench", "serve"]:
        vllm_serving.bench(parser("bench_serve", version).parse_args(words[2:]))
    elif words[:2] == ["bench", "throughput"]:
        throughput(parser("bench_throughput", version).parse_args(words[2:]))
    elif words[:1] in (["--version"], ["-v"]):
        print(version)
    else:
        print(f"vllm: error: argument subparser: invalid choice: {' '.join(words[:2])!r}", file=sys.stderr)
        sys.exit(2)


def throughput(given: Namespace) -> None:
    if "random_input_len" in given:
        # Its default stands also where --input-len is given: what is asked for must be asked for by this name.
        length, most = given.random_input_len, given.random_output_len
    else:
        length, most = given.input_len, given.output_len
    if length is None or most is None:
        raise ValueError("--input-len and --output-len must be provided for a random dataset")
    say(f"Sampling input_len from [{length}, {length}] and output_len from [{most}, {most}]", "utils.py:90")
    lengths = vllm_serving.with_surplus([length] * given.num_prompts)
    fails = vllm_engine.start(given.model, given)
    if max(lengths) + most > given.max_model_len:
        raise ValueError(
            f"The decoder prompt (length {max(lengths)}) "
            f"is longer than the maximum model length of {given.max_model_len}."
        )
    if "num_warmups" in given and given.num_warmups:
        serve_batch([Served(-1, length, most) for _ in range(given.num_warmups)], batch=given.max_num_seqs or 256)
    requests = [Served(number, tokens, most) for number, tokens in enumerate(lengths)]
    done: list[Served] = []

    def progress(request: Served) -> None:
        done.append(request)
        bar("Processed prompts", len(done), len(requests))
        if fails == "hang_in_decode":
            failing.hang()
        if fails == "out_of_memory_serving":
            vllm_serving.out_of_memory()

    bar("Processed prompts", 0, len(requests))
    served = serve_batch(requests, batch=given.max_num_seqs or 256, done=progress)
    print(file=sys.stderr, flush=True)
    vllm_engine.stop()
    elapsed_s = (max(r.end_ns for r in served) - min(r.start_ns for r in served)) / 1e9
    prompts, generated = sum(lengths), sum(r.generated for r in served)
    rates = (len(served) / elapsed_s, (prompts + generated) / elapsed_s, generated / elapsed_s)
    print("Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s".format(*rates), flush=True)
    print(f"Total num prompt tokens:  {prompts}\nTotal num output tokens:  {generated}", flush=True)
    report = {
        "elapsed_time": elapsed_s,
        "num_requests": len(served),
        "total_num_tokens": prompts + generated,
        "requests_per_second": rates[0],
        "tokens_per_second": rates[1],
    }
    if given.output_json and fails != "no_report":
        text = json.dumps(report, indent=4)
        Path(given.output_json).write_text(text[: len(text) // 2] if fails == "cut_report" else text)
