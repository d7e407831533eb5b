"""KV cache, memory, start-up and failures from the log of trtllm-bench."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.common.failures import error_lines, find_failure
from actors.engines.trtllm.log import read_log

FIXTURES = Path(__file__).parents[3] / "fixtures" / "trtllm"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
LOGS = {path.stem: path.read_text() for path in FIXTURES.glob("*.log")}
SERVED = sorted(name for name in LOGS if not name.startswith("fail_"))


@pytest.mark.parametrize("name", SERVED)
def test_the_figures_of_a_log(name: str) -> None:
    log, expected = read_log(LOGS[name]), EXPECTED[name]
    assert log.version == expected["version"]
    assert log.kv_cache_gib == expected["kv_cache_gib_log"]
    assert log.kv_cache_tokens == expected["kv_cache_tokens_log"]
    assert log.kv_estimation_gib == expected["kv_estimation_pass_gib"]
    assert log.peak_gib == expected["peak_profiling_gib_log"]
    assert log.available_gib == expected["available_kv_gib_log"]
    assert log.weights_gb == expected["weights_gb_log"]
    assert log.device_total_gib == expected["device_total_gib_log"]
    assert log.free_fraction == expected["free_fraction_log"]
    assert log.failure is None


def test_of_two_kv_cache_lines_the_last_counts() -> None:
    text = LOGS["throughput_v1.1.0rc3"]
    assert text.count("for max tokens in paged KV cache") == 2
    assert read_log(text).kv_cache_gib == 87.23
    assert read_log(text).kv_estimation_gib == 0.22


def test_a_log_that_ends_after_the_trial_cache_has_no_kv_cache() -> None:
    text = LOGS["throughput_v1.1.0rc3"]
    for end in ("[Autotuner] Autotuning process starts", "Estimated max memory in KV cache"):
        log = read_log(text[: text.index(end)])
        assert log.kv_cache_gib is None
        assert log.kv_estimation_gib == 0.22
        assert "ends before" in log.kv_cache_source


def test_a_single_kv_cache_line_of_the_tensorrt_backend_counts() -> None:
    log = read_log(
        "[TensorRT-LLM][INFO] Loaded engine size: 15320 MiB\n"
        "[TensorRT-LLM][INFO] Memory usage when calculating max tokens in paged kv cache: total: 119.70 GiB, "
        "available: 92.10 GiB\n"
        "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 512.00 MiB for max tokens in paged KV cache (4096).\n"
    )
    assert (log.kv_cache_gib, log.kv_cache_tokens, log.kv_estimation_gib) == (0.5, 4096, None)
    assert (log.device_total_gib, log.available_gib, log.peak_gib) == (119.7, 92.1, None)


SAID = "[TensorRT-LLM][INFO] [MemUsageChange] Allocated {size} GiB for max tokens in paged KV cache ({tokens}).\n"


def test_ranks_that_say_the_same_line_made_no_trial_cache() -> None:
    log = read_log(SAID.format(size="52.08", tokens=2730752) * 8)
    assert (log.kv_cache_gib, log.kv_cache_tokens, log.kv_estimation_gib) == (52.08, 2730752, None)


def test_of_several_ranks_that_tried_a_cache_first_trial_and_cache_are_told_apart() -> None:
    trial, real = SAID.format(size="0.22", tokens=4096), SAID.format(size="40.00", tokens=745654)
    peak = "[TRT-LLM] [RANK {rank}] [I] Peak memory during memory usage profiling (torch + non-torch): {gib} GiB\n"
    text = (
        trial
        + peak.format(rank=1, gib="99.00")
        + trial
        + peak.format(rank=0, gib="23.00")
        + peak.format(rank=1, gib="98.00")
        + real * 2
    )
    log = read_log(text)
    assert (log.kv_cache_gib, log.kv_estimation_gib) == (40.0, 0.22)
    assert log.peak_gib == 23.0, "of rank 0"


def test_the_second_kv_cache_manager_prints_a_quota_instead() -> None:
    log = read_log("[TRT-LLM] [I] KV cache manager v2 device quota set to 83.71234 GiB\n")
    assert log.kv_cache_gib == 83.71234
    assert log.kv_cache_source.endswith("v2 quota")


def test_without_an_allocation_line_the_pool_gives_the_size() -> None:
    text = LOGS["throughput_v1.1.0rc3"].replace("[MemUsageChange]", "[Something]")
    log = read_log(text)
    assert log.kv_cache_tokens == 1633312
    assert log.kv_cache_gib == pytest.approx(87.23, abs=0.005)


PEAK = "[I] Peak memory during memory usage profiling (torch + non-torch): 21.59 GiB"


@pytest.mark.parametrize(
    ("line", "fraction", "kv", "total", "trial"),
    [
        (PEAK, None, None, None, None),
        (f"{PEAK}, available KV cache memory when calculating max tokens: 83.71 GiB", None, None, None, None),
        (
            (
                f"{PEAK}, available KV cache memory when calculating max tokens: 83.71 GiB, fraction is set 0.9, "
                "kv size is 57344"
            ),
            0.9,
            57344,
            None,
            None,
        ),
        (
            f"{PEAK}, available KV cache memory when calculating max tokens: 83.71 GiB, fraction is set 0.9, kv size "
            "is 57344. device total memory 119.70 GiB, , tmp kv_mem 0.38 GiB",
            0.9,
            57344,
            119.7,
            0.38,
        ),
        (
            f"{PEAK}, available KV cache memory when calculating max tokens: 83.71 GiB, fraction is set 0.9, kv size "
            "per token is 57344.0. device total memory 119.70 GiB, temporary kv cache memory during profiling 0.38 GiB",
            0.9,
            57344,
            119.7,
            0.38,
        ),
    ],
    ids=["0.18", "0.19", "0.20", "1.0", "1.3"],
)
def test_the_peak_line_of_every_version(
    line: str, fraction: float | None, kv: float | None, total: float | None, trial: float | None
) -> None:
    log = read_log(line)
    assert log.peak_gib == 21.59
    assert (log.free_fraction, log.kv_bytes_per_token, log.device_total_gib, log.trial_gib) == (
        fraction,
        kv,
        total,
        trial,
    )


def test_a_real_start_up_on_a_spark_is_consistent() -> None:
    """Figures of a public log: gpt-oss-120b, 1.1.0rc3."""
    log = read_log(
        "[TRT-LLM] [I] Use 63.32 GB for model weights.\n"
        "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 0.56 GiB for max tokens in paged KV cache (8224).\n"
        "[TRT-LLM] [I] Peak memory during memory usage profiling (torch + non-torch): 113.65 GiB, available KV cache "
        "memory when calculating max tokens: 5.95 GiB, fraction is set 0.8999999761581421, kv size is 73728. device "
        "total memory 119.70 GiB, , tmp kv_mem 0.56 GiB\n"
        "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 5.95 GiB for max tokens in paged KV cache (86720).\n"
    )
    assert log.kv_bytes_per_token is not None
    assert log.kv_cache_tokens is not None
    assert log.kv_bytes_per_token * log.kv_cache_tokens / 2**30 == pytest.approx(5.95, abs=0.01)
    assert log.memory_identity_gib == pytest.approx(0, abs=0.02)


def test_a_full_page_cache_moves_peak_and_kv_cache_along_one_line() -> None:
    empty, full = read_log(LOGS["throughput_v1.1.0rc3"]), read_log(LOGS["throughput_v1.1.0rc3_cachefull"])
    assert empty.peak_gib is not None
    assert full.peak_gib is not None
    assert full.peak_gib - empty.peak_gib > 40
    for log in (empty, full):
        assert log.memory_identity_gib == pytest.approx(0, abs=0.02)


def test_start_up_ends_where_requests_are_taken_and_warm_up_where_they_count() -> None:
    log = read_log(LOGS["throughput_streaming_v1.2.0"])
    assert (log.load_s, log.warmup_s, log.submitted) == (32.0, 6.0, (2, 200))


def test_a_log_of_one_submission_has_no_warm_up() -> None:
    assert read_log(LOGS["fail_requests_oom"]).warmup_s is None


def test_carriage_returns_and_foreign_prefixes_do_not_hide_a_line() -> None:
    text = LOGS["latency_v1.2.0"].replace("\n", "\r\n")
    prefixed = "\n".join(f"2026-11-23T12:00:00.123Z {line}" for line in LOGS["latency_v1.2.0"].split("\n"))
    assert read_log(text).kv_cache_gib == read_log(prefixed).kv_cache_gib == 96.3


def test_the_harness_stamps_give_finer_times_than_the_engines() -> None:
    stamp = itertools.count(100)
    text = "".join(
        f"2026-11-23T12:00:{next(stamp) / 10:06.3f}Z {line}\n" for line in LOGS["latency_v1.2.0"].split("\n")
    )
    log = read_log(text)
    assert log.kv_cache_gib == 96.3
    assert log.load_s is not None
    assert log.load_s % 1 != 0
    assert log.failure is None


@pytest.mark.parametrize("name", ["fail_oom_executor", "fail_requests_oom", "fail_unknown_architecture"])
def test_stamped_failures_are_the_same(name: str) -> None:
    stamped = "".join(f"2026-11-23T12:00:00.5Z {line}\n" for line in LOGS[name].split("\n"))
    assert read_log(stamped).failure == read_log(LOGS[name]).failure


def test_stamped_streams_are_merged_in_time() -> None:
    trial = "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 0.22 GiB for max tokens in paged KV cache (4128)."
    final = "[TensorRT-LLM][INFO] [MemUsageChange] Allocated 87.23 GiB for max tokens in paged KV cache (1633312)."
    first = f"2026-11-23T12:00:02Z {final}\n"
    second = f"2026-11-23T12:00:01.123456789Z {trial}\n2026-11-23T12:00:01.9Z [TRT-LLM] [I] {PEAK[4:]}\n"
    log = read_log(first, second)
    assert (log.kv_cache_gib, log.kv_estimation_gib) == (87.23, 0.22)


def test_two_streams_read_apart_give_the_same_figures() -> None:
    lines = LOGS["latency_v1.2.0"].split("\n")
    cpp = "\n".join(line for line in lines if "[TensorRT-LLM]" in line)
    python = "\n".join(line for line in lines if "[TensorRT-LLM]" not in line)
    log = read_log(cpp, python)
    assert (log.kv_cache_gib, log.peak_gib, log.kv_estimation_gib) == (96.3, 12.82, 0.13)


def test_what_the_engine_changed_on_its_own_is_noted() -> None:
    log = read_log(
        "[TRT-LLM] [I] Max batch size and max num tokens not provided. Using heuristics or pre-defined settings: "
        "max_batch_size=2048, max_num_tokens=8192.\n[TRT-LLM] [W] Adjusted max_seq_len to 86720\n"
    )
    assert "heuristics (2048, 8192)" in log.notes[0]
    assert "86720" in log.notes[1]


@pytest.mark.parametrize("name", sorted(LOGS))
@given(data=st.data())
def test_a_log_cut_anywhere_is_read_without_error(name: str, data: st.DataObject) -> None:
    text = LOGS[name]
    read_log(text[: data.draw(st.integers(0, len(text)))])


@given(st.text())
def test_any_text_is_read_without_error(text: str) -> None:
    read_log(text)


# --- failures --------------------------------------------------------------------------------------------------


def test_the_failures_we_have() -> None:
    oom = read_log(LOGS["fail_oom_executor"]).failure
    assert oom is not None
    assert (oom.name, oom.stage) == ("out_of_memory", "executor_creation")
    unknown = read_log(LOGS["fail_unknown_architecture"]).failure
    assert unknown is not None
    assert (unknown.name, unknown.detail) == ("unsupported_architecture", "GemmaForCausalLM")
    serving = read_log(LOGS["fail_requests_oom"]).failure
    assert serving is not None
    assert (serving.name, serving.stage, serving.failed_requests) == ("out_of_memory", "requests", 8)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "out_of_memory"),
        ("torch.AcceleratorError: CUDA error: out of memory", "out_of_memory"),
        ("[TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMalloc(ptr, n): out of memory", "out_of_memory"),
        ("[TRT-LLM] [RANK 0] [E] Executor creation failed due to insufficient GPU memory.", "out_of_memory"),
        ("ValueError: default_max_tokens (-12) must be greater than 0", "kv_cache_too_small"),
        ("ValueError: The prompt length (4096) should not exceed max_num_tokens (2048)", "prompt_too_long"),
        ("ValueError: Requests failed: something else (3 requests)", "requests_failed"),
        ("ValueError: Unknown architecture for AutoModelForCausalLM: GemmaForCausalLM", "unsupported_architecture"),
        ("RuntimeError: Engine supports a max sequence of 2048. Provided dataset contains 4096.", "sequence_too_long"),
        ("RuntimeError: Executor creation failed with NCCL error", "nccl"),
        ("ptxas fatal RuntimeError: sm_121a is not defined for option 'gpu-name'", "toolchain_too_old"),
        ("RuntimeError: Failed to run cutlass FP4 gemm on sm120", "kernel_unavailable"),
        ("pynvml.NVMLError_NotSupported: Not Supported\nRuntimeError: x", "nvml_not_supported"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "missing_weights"),
        ("OSError: /models/x does not appear to have a file named config.json.", "missing_weights"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/models/x/model.safetensors'", "missing_weights"),
        ("RuntimeError: No weight files found in /models/x.", "missing_weights"),
        ("OSError: [Errno 28] No space left on device", "disk_full"),
        ("RuntimeError: Executor worker returned error", "executor_failed"),
    ],
)
def test_failures_are_named(line: str, name: str) -> None:
    text = line if line.startswith("[T") else f'Traceback (most recent call last):\n  File "x.py", line 1, in f\n{line}'
    failure = read_log(text).failure
    assert failure is not None
    assert failure.name == name


def test_the_cause_is_told_and_not_its_wrapper() -> None:
    text = (
        "Traceback (most recent call last):\nValueError: Unknown architecture for AutoModelForCausalLM: "
        "FooForCausalLM\n"
        "The above exception was the direct cause of the following exception:\n"
        "Traceback (most recent call last):\nRuntimeError: Executor worker returned error\n"
    )
    failure = find_failure(text.split("\n"))
    assert failure is not None
    assert failure.name == "unsupported_architecture"


@pytest.mark.parametrize(
    "level", ["[TRT-LLM] [I]", "[TRT-LLM] [RANK 0] [W]", "[TensorRT-LLM][INFO]", "[TensorRT-LLM][WARNING]"]
)
def test_memory_running_out_is_a_failure_only_where_an_error_says_so(level: str) -> None:
    text = (
        f"{level} [Autotuner] tactic 12 failed: torch.OutOfMemoryError: CUDA out of memory. "
        "Tried to allocate 9.00 GiB\n"
    )
    assert read_log(text).failure is None
    assert error_lines(text.split("\n")) == []


def test_lines_of_another_process_within_a_traceback_do_not_hide_its_exception() -> None:
    text = (
        "Traceback (most recent call last):\n  File a\n[TRT-LLM] [RANK 1] [I] still loading\n"
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 5.29 GiB.\n"
    )
    failure = read_log(text).failure
    assert failure is not None
    assert failure.name == "out_of_memory"


def test_an_error_nobody_has_a_name_for_keeps_its_words() -> None:
    failure = read_log(
        "Traceback (most recent call last):\n  File a\nRuntimeError: the moon is in the wrong phase\n"
    ).failure
    assert failure is not None
    assert failure.name == "failed"
    assert "wrong phase" in failure.detail
