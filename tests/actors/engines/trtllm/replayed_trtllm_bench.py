"""Stands for trtllm-bench where there is no GPU: takes its command line as strictly as 1.1 does, reads dataset and
settings, and answers with a recorded report and log. Its figures mean nothing; what it refuses does."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

FIXTURES = Path(__file__).parents[3] / "fixtures" / "trtllm"


def main() -> int:
    whole = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--model", "--model_path", "--workspace", "--log_level"):
        whole.add_argument(name, required=name == "--model")
    subcommands = whole.add_subparsers(dest="subcommand", required=True)
    options = subcommands.add_parser("throughput", allow_abbrev=False)
    for name in ("--dataset", "--report_json", "--request_json", "--backend", "--extra_llm_api_options"):
        options.add_argument(name)
    for name in ("--num_requests", "--warmup", "--concurrency", "--tp", "--max_batch_size", "--max_num_tokens"):
        options.add_argument(name, type=int)
    options.add_argument("--kv_cache_free_gpu_mem_fraction", type=float)
    options.add_argument("--streaming", action="store_true")
    given = whole.parse_args()
    if Path(given.model).exists():
        print("ValueError: Model is a file or directory, please provide a model name.", file=sys.stderr)
        return 1
    lines = [json.loads(line) for line in Path(given.dataset).read_text().splitlines()][: given.num_requests]
    assert json.loads((Path(given.model_path) / "config.json").read_text())
    recorded = "latency_v1.2.0" if given.streaming else "throughput_v1.1.0rc3"
    report = json.loads((FIXTURES / f"{recorded}.json").read_text())
    report["engine"] |= {"model": given.model, "model_path": given.model_path}
    report["world_info"] |= {
        "kv_cache_percentage": given.kv_cache_free_gpu_mem_fraction,
        "max_batch_size": given.max_batch_size,
    }
    report["request_info"] |= {
        "num_requests": len(lines),
        "avg_input_length": sum(len(line["input_ids"]) for line in lines) / len(lines),
        "avg_output_length": sum(line["output_tokens"] for line in lines) / len(lines),
    }
    for line in (FIXTURES / f"{recorded}.log").read_text().splitlines():
        print(line, file=sys.stderr if "[TensorRT-LLM]" in line else sys.stdout, flush=True)
    Path(given.report_json).write_text(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
