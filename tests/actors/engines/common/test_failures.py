"""Causes of failure in the words that programs print, and what to do about each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.common.failure_table import CAUSES, HARMLESS
from actors.engines.common.failures import error_lines, find_failure, report_missing

VLLM = "(EngineCore pid=99) ERROR 02-03 10:01:00 [core.py:842] "
TRT = "[02/03/2026-10:01:00] [TRT-LLM] [RANK 0] [E] "
TRACE = 'Traceback (most recent call last):\n  File "/opt/x.py", line 1, in f\n    return g()\n           ^^^\n'

WORDS: list[tuple[str, str]] = [
    # Python, vLLM, TensorRT-LLM: raised
    (TRACE + "ImportError: libnvinfer.so.10: cannot open shared object file: No such file or directory",
     "library_missing"),
    (TRACE + "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory",
     "library_missing"),
    (TRACE + "OSError: libmpi.so.40: cannot open shared object file: No such file or directory", "library_missing"),
    (("trtllm-bench: error while loading shared libraries: libnccl.so.2: cannot open shared object file: "
        "No such file or directory"), "library_missing"),
    ("Could not load library libcudnn_graph.so.9. Error: libcudnn_graph.so.9: cannot open shared object file",
     "library_missing"),
    (TRACE + "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
     "driver_library_missing"),
    (TRACE + "AssertionError: libcuda.so cannot found!\nPlease make sure GPU is set up and then run \"/sbin/ldconfig\"",
     "driver_library_missing"),
    (TRACE + "ImportError: /usr/lib/libtorch_cuda.so: undefined symbol: ncclCommWindowRegister", "library_mismatch"),
    ("python3: symbol lookup error: /opt/x.so: undefined symbol: _ZN3c10", "library_mismatch"),
    (TRACE + "ImportError: /lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /opt/x.so)",
     "library_mismatch"),
    ("exec /opt/nvidia/nvidia_entrypoint.sh: exec format error", "wrong_architecture"),
    ("bash: line 1: /usr/local/bin/vllm: cannot execute binary file: Exec format error", "wrong_architecture"),
    (TRACE + "ModuleNotFoundError: No module named 'tensorrt_llm'", "module_missing"),
    # driver and device
    (TRACE + "RuntimeError: The NVIDIA driver on your system is too old (found version 12040). "
        "Please update your GPU driver", "gpu_unavailable"),
    (TRACE + "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
     "gpu_unavailable"),
    (TRACE + "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",
     "gpu_unavailable"),
    (TRACE + "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display "
        "driver / cuda driver combination", "gpu_unavailable"),
    (("ERROR: This container was built for NVIDIA Driver Release 590.48 or later, but\n       version 580.95.05 was "
        "detected and compatibility mode is UNAVAILABLE."), "driver_too_old"),
    (("docker: Error response from daemon: failed to create task: nvidia-container-cli: requirement error: "
        "unsatisfied condition: cuda>=13.1"), "driver_too_old"),
    (TRACE + "pynvml.NVMLError_LibRmVersionMismatch: Driver/library version mismatch", "gpu_unavailable"),
    (TRACE + "RuntimeError: No CUDA GPUs are available", "gpu_unavailable"),
    (TRACE + "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
     "gpu_unavailable"),
    (TRACE + "RuntimeError: Failed to infer device type, "
        "please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`", "gpu_unavailable"),
    (TRACE + "torch.AcceleratorError: CUDA error: invalid device ordinal", "gpu_unavailable"),
    (TRACE + "pynvml.NVMLError_NotSupported: Not Supported", "nvml_not_supported"),
    # compilers and kernels
    ("ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'", "toolchain_too_old"),
    ("nvcc fatal   : Unsupported gpu architecture 'compute_121a'", "toolchain_too_old"),
    (TRACE + "RuntimeError: nvrtc: error: invalid value for --gpu-architecture (-arch)", "toolchain_too_old"),
    (VLLM + "triton.runtime.errors.PTXASError: PTXAS error: Internal Triton PTX codegen error", "toolchain_too_old"),
    ("ptxas /tmp/x.ptx, line 5; error   : Feature '.tile::scatter4' not supported on .target 'sm_120'",
     "toolchain_too_old"),
    ("ptxas /tmp/x.ptx, line 9; fatal   : Unsupported .version 9.1; current version is '8.8'", "toolchain_too_old"),
    (TRACE + "RuntimeError: Failed to find C compiler. "
        "Please specify via CC environment variable or set triton.knobs.build.impl.", "toolchain_missing"),
    (TRACE + "RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist",
     "toolchain_missing"),
    (TRACE + "FileNotFoundError: [Errno 2] No such file or directory: 'ninja'", "toolchain_missing"),
    (TRACE + "RuntimeError: CUDA error: no kernel image is available for execution on the device",
     "kernel_unavailable"),
    (TRACE + "RuntimeError: [TensorRT-LLM Error][CutlassFp4GemmRunner][GEMM Dispatch] Arch "
        "unsupported for CUTLASS FP4 GEMM", "kernel_unavailable"),
    (TRT + "Failed to initialize executor on rank 0: [TensorRT-LLM][ERROR] Assertion failed: Unsupported "
        "architecture (/src/x.cpp:25)", "kernel_unavailable"),
    (VLLM + "NotImplementedError: TRTLLMGenFusedMoE does not support SM120 and above.", "kernel_unavailable"),
    (VLLM + "RuntimeError: Failed to find a kernel that can implement the WNA16 linear layer.", "kernel_unavailable"),
    (VLLM + "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=80)",
     "kernel_unavailable"),
    (VLLM + "flashinfer.utils.BackendSupportedError: mm_fp4 does not support backend 'cudnn' with capability 121",
     "kernel_unavailable"),
    (TRACE + "RuntimeError: Unsupported compute capability: 12.1", "kernel_unavailable"),
    (TRACE + "RuntimeError: CUDA error: invalid device function", "kernel_unavailable"),
    (("/x/torch/cuda/__init__.py:180: UserWarning: CUDA initialization: "
        "The NVIDIA driver on your system is too old (found version 12080).\n") + TRACE + "RuntimeError: "
            "No CUDA GPUs are available", "gpu_unavailable"),
    (VLLM + "ValueError: FlashInfer kernels unavailable for ModelOptNvFp4FusedMoE on current platform.",
     "kernel_unavailable"),
    (TRT + "Failed to initialize executor on rank 0: [TensorRT-LLM][ERROR] Assertion failed: "
        "Error occurred when running GEMM! (/x.cpp:1)", "kernel_unavailable"),
    (VLLM + "subprocess.CalledProcessError: Command '['ninja', '-v', '-C', "
        "'/x/cached_ops']' returned non-zero exit status 1.", "toolchain_missing"),
    ("vllm-1  | " + VLLM + "RuntimeError: [FP4 gemm Runner] Failed to run cutlass FP4 gemm on sm120. Error: "
        "Error Internal", "kernel_unavailable"),
    ("[TensorRT-LLM][ERROR] Assertion failed: Failed to deserialize cuda engine. (/x.cpp:1)",
     "engine_of_another_version"),
    # what cannot be loaded
    (TRACE + "ValueError: Unknown architecture for AutoModelForCausalLM: GemmaForCausalLM", "unsupported_architecture"),
    (VLLM + "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. Supported architectures: "
        "dict_keys(['A'])", "unsupported_architecture"),
    (VLLM + "ValueError: FooForCausalLM has no vLLM implementation and the Transformers "
        "implementation is not compatible with vLLM.", "unsupported_architecture"),
    (TRACE + "ValueError: The checkpoint you are trying to load has model type `qwen9` but Transformers does not "
        "recognize this architecture.", "unsupported_architecture"),
    (TRACE + "  Value error, Unknown quantization method: bitnet. Must be one of ['awq']\nValueError: Unknown "
        "quantization method: bitnet.", "unsupported_quantization"),
    (TRACE + "huggingface_hub.errors.GatedRepoError: 401 Client Error. "
        "Cannot access gated repo for url https://huggingface.co/x", "missing_weights"),
    (TRACE + "OSError: You are trying to access a gated repo.\nMake sure to "
        "have access to it at https://huggingface.co/x", "missing_weights"),
    (TRACE + "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder",
     "missing_weights"),
    (TRACE + "huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co/x: "
        "offline mode is enabled.", "missing_weights"),
    (TRACE + "OSError: We couldn't connect to 'https://huggingface.co' to load the files, "
        "and couldn't find them in the cached files.", "missing_weights"),
    (TRACE + "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error. Repository Not Found for url: "
        "https://x", "missing_weights"),
    (TRACE + "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries "
        "exceeded with url: /x (Caused by NameResolutionError())", "missing_weights"),
    (TRACE + "httpx.ConnectError: [Errno -3] Temporary failure in name resolution", "missing_weights"),
    (TRACE + "RuntimeError: Cannot find any model weights with `/models/x`", "missing_weights"),
    (TRACE + "OSError: Can't load tokenizer for '/models/x'. If you were trying to load it from "
        "'https://huggingface.co/models'", "missing_weights"),
    (TRACE + "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
     "damaged_weights"),
    # memory
    (TRACE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 5.29 GiB. GPU 0 has a total capacity of "
        "119.70 GiB of which 3.11 GiB is free.", "out_of_memory"),
    (TRACE + "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; "
        "23.69 GiB total capacity)", "out_of_memory"),
    (VLLM + "RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. "
        "Please try lowering `max_num_seqs`", "out_of_memory"),
    (VLLM + "ValueError: Free memory on device cuda:0 (30.1/119.7 GiB) on startup is less than desired GPU memory "
        "utilization (0.9, 107.7 GiB). Decrease GPU memory utilization", "out_of_memory"),
    ("[TensorRT-LLM][ERROR] CUDA runtime error in ::cudaMalloc(ptr, n): out of memory (/src/x.cpp:3)", "out_of_memory"),
    (TRACE + "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
     "out_of_memory"),
    (TRACE + "torch.AcceleratorError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
     "out_of_memory"),
    (TRACE + "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 9 bytes.", "out_of_memory"),
    (TRACE + "OSError: [Errno 12] Cannot allocate memory", "out_of_memory"),
    ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc", "out_of_memory"),
    ("[ 123.4] Out of memory: Killed process 4242 (python3) total-vm:1kB, anon-rss:2kB", "out_of_memory"),
    ("kernel: Memory cgroup out of memory: Killed process 4242 (VLLM::EngineCor) total-vm:1kB", "out_of_memory"),
    ("kernel: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=python3,pid=4242,uid=0", "out_of_memory"),
    (VLLM + "ValueError: No available memory for the cache blocks. "
        "Try increasing `gpu_memory_utilization` when initializing the engine.", "kv_cache_too_small"),
    (VLLM + "ValueError: To serve at least one request with the models's max seq len (4096), (9.0 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (1.2 GiB).", "kv_cache_too_small"),
    (TRACE + "ValueError: The model's max seq len (4096) is larger than the maximum number "
        "of tokens that can be stored in KV cache (3664).", "kv_cache_too_small"),
    # what was asked for
    (TRACE + "ValueError: The prompt length (4096) should not exceed max_num_tokens (2048)", "prompt_too_long"),
    (TRACE + "ValueError: The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
     "prompt_too_long"),
    (TRACE + "RuntimeError: Engine supports a max sequence of 2048. "
        "Provided dataset contains a maximum sequence of 4096.", "sequence_too_long"),
    (TRACE + "ValueError: The decoder prompt cannot be empty", "empty_prompt"),
    ("usage: vllm [-h] [-v] {serve,bench} ...\nvllm: error: unrecognized arguments: --kv-cache-memory-byte 1000",
     "unknown_option"),
    ("usage: vllm serve [-h]\nvllm serve: error: argument --dtype: invalid choice: 'fp9' (choose from auto, half)",
     "unknown_option"),
    ("vllm bench: error: argument --max-model-len: expected one argument", "unknown_option"),
    ("vllm bench throughput: error: the following arguments are required: --model", "unknown_option"),
    ("vllm: error: ambiguous option: --max could match --max-model-len, --max-num-seqs", "unknown_option"),
    ("vllm: error: argument --seed: invalid int value: 'x'", "unknown_option"),
    (("Usage: trtllm-bench throughput [OPTIONS]\nTry 'trtllm-bench throughput --help' for help.\n\nError: No such "
        "option: --engine_dirs (Possible options: --engine_dir)"), "unknown_option"),
    ("Usage: trtllm-bench [OPTIONS] COMMAND\n\nError: No such command 'latencies'.", "unknown_option"),
    ("Usage: x\n\nError: Invalid value for '--backend': 'tensorrt' is not one of 'pytorch', '_autodeploy'.",
     "unknown_option"),
    ("Usage: x\n\nError: Missing option '--dataset'.", "unknown_option"),
    ("Usage: x\n\nError: Option '--tp' requires an argument.", "unknown_option"),
    ("Usage: x\n\nError: Got unexpected extra argument (5)", "unknown_option"),
    ("bash: line 1: trtllm-bench: command not found", "engine_missing"),
    ('exec: "vllm": executable file not found in $PATH', "engine_missing"),
    (TRACE + "FileNotFoundError: [Errno 2] No such file or directory: 'vllm'", "engine_missing"),
    # several processes
    (("There are not enough slots available in the system to satisfy the 2\nslots that "
        "were requested by the application:"), "mpi"),
    ("mpirun has detected an attempt to run as root.\n\nRunning as root is *strongly* discouraged", "mpi"),
    ("It looks like MPI_INIT failed for some reason; your parallel process is\nlikely to abort.", "mpi"),
    (TRT + "Failed to initialize executor on rank 0: [TensorRT-LLM][ERROR] Assertion failed: Failed, NCCL error "
        "x.cpp:90 'invalid usage (run with NCCL_DEBUG=WARN for details)'", "nccl"),
    (VLLM + "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)", "nccl"),
    (VLLM + "torch.distributed.DistBackendError: NCCL error in: /pytorch/x.cpp:77, unhandled cuda error", "nccl"),
    (TRACE + "ncclSystemError: System call (e.g. socket, malloc) or external library call failed", "nccl"),
    # the machine
    (TRACE + "OSError: [Errno 28] No space left on device: '/tmp/x'", "disk_full"),
    (TRACE + "OSError: [Errno 30] Read-only file system: '/root/.cache/vllm'", "read_only"),
    (TRACE + "PermissionError: [Errno 13] Permission denied: '/.cache'", "read_only"),
    (TRACE + "RuntimeError: unable to open shared memory object </torch_1> in read-write mode: "
        "No space left on device (28)", "disk_full"),
    ("bash: line 1:    77 Bus error               (core dumped) vllm serve /x", "shared_memory"),
    ("ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 18917): address already in use",
     "port_in_use"),
    (TRACE + "RuntimeError: can't start new thread", "limits"),
    (TRACE + "torch.AcceleratorError: CUDA error: an illegal memory access was encountered", "gpu_fault"),
    (TRACE + "RuntimeError: CUDA error: unspecified launch failure", "gpu_fault"),
    ("[ 12.3] NVRM: Xid (PCI:000f:01:00): 79, GPU has fallen off the bus.", "gpu_fault"),
    # settings
    (TRACE + "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, "
        "User-specified max_model_len (131072) is greater than the derived max_model_len "
        "(max_position_embeddings=32768 or model_max_length=None in model's config.json). [type=value_error, "
        "input_value=ArgsKwargs(()), input_type=ArgsKwargs]", "sequence_too_long"),
    (TRACE + "pydantic_core._pydantic_core.ValidationError: 1 validation error for TorchLlmArgs\nmoe_config.backend\n"
        "  Input should be 'CUTLASS' or 'TRTLLM' [type=literal_error, input_value='FOO', input_type=str]\n    For "
        "further information visit https://errors.pydantic.dev/2.12/v/literal_error", "invalid_configuration"),
    (VLLM + "pydantic_core._pydantic_core.ValidationError: 1 validation error for SchedulerConfig\n" + VLLM
        + "  Value error, max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (128). "
        "[type=value_error, input_value=A(), input_type=A]", "invalid_configuration"),
    # ended from outside
    ("bash: line 1:    99 Killed                  vllm serve /x", "killed"),
    ("Killed", "killed"),
    (TRACE + "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
        "{'EngineCore_DP0': -9}", "killed"),
    ("  exitcode  : -9 (pid: 4242)", "killed"),
    (TRACE + "subprocess.CalledProcessError: Command '['x']' returned non-zero exit status 137.", "killed"),
    ("vllm serve ended before the benchmark, exit code 137", "killed"),
    ("mpirun noticed that process rank 0 with PID 0 on node spark exited on signal 9 (Killed).", "killed"),
    (VLLM + "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
        "{'EngineCore_DP0': -9}\nsubprocess.CalledProcessError: Command 'x' died with <Signals.SIGKILL: 9>.", "killed"),
    ("bash: line 1:    99 Terminated              vllm serve /x", "terminated"),
    ("Fatal Python error: Segmentation fault", "crashed"),
    ("terminate called after throwing an instance of 'c10::Error'\n  what():  something", "crashed"),
    ("*** Process received signal ***\nSignal: Segmentation fault (11)", "crashed"),
    (TRACE + "RuntimeError: Executor worker returned error", "executor_failed"),
    (TRACE + "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
     "executor_failed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name"), WORDS, ids=[f"{index}-{name}" for index, (_, name) in enumerate(WORDS)])
def test_causes_are_named_in_the_words_that_programs_print(text: str, name: str) -> None:
    failure = find_failure(text.split("\n"))
    assert failure is not None
    assert failure.name == name, str(failure)
    assert failure.remedy


def test_every_cause_has_a_remedy_that_is_never_cut() -> None:
    for cause in CAUSES:
        assert cause.remedy.endswith((".", ":")), cause.name
        assert len(cause.remedy) > 40, cause.name
        re.compile(cause.pattern)
    for text, _ in WORDS:
        failure = find_failure(text.split("\n"))
        assert failure is not None
        assert str(failure).endswith(failure.remedy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WORDS[0][0], ["libnvinfer.so.10", "entry point", "LD_LIBRARY_PATH"]),
        ("AssertionError: libcuda.so cannot found!", ["libcuda.so", "/sbin/ldconfig", "linker cache"]),
        ("pynvml.NVMLError_NotSupported: Not Supported",
         ["NVML gives no memory on this device", "--streaming --concurrency 1"]),
        ("ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'",
         ["sm_121a", "TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas"]),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 13000).",
         ["driver_too_old", "CUDA 13.0"]),
        (
            ("ERROR: This container was built for NVIDIA Driver Release 590.48 or later, "
            "but\n  version 580.159.03 was detected and"),
            ["driver_too_old", "590.48", "580.159.03"],
        ),
        (
            ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 5.29 GiB. GPU 0 has a total capacity of "
            "119.70 GiB of which 3.11 GiB is free."),
            ["5.29 GiB", "3.11 GiB free", "drop_caches"],
        ),
        (
            ("ValueError: The model's max seq len (4096) is larger than the maximum number "
            "of tokens that can be stored in KV cache (3664)."),
            ["4096", "3664", "gpu-memory-utilization"],
        ),
    ],
)  # fmt: skip
def test_a_cause_keeps_the_figures_and_the_remedy_says_what_to_type(text: str, words: list[str]) -> None:
    said = str(find_failure((TRACE + text).split("\n")))
    for word in words:
        assert word in said


# --- words that nobody has a name for ----------------------------------------------------------------------------


def test_a_cause_is_no_stack_frame_of_cpp() -> None:
    text = (
        f"{TRT}Failed to initialize executor on rank 0: [TensorRT-LLM][ERROR] Assertion failed: "
        "the moon is full (/src/x.cpp:25)\n"
        "1       0x7a14a782a0f4 tensorrt_llm::common::throwRuntimeError(char const*, int, char const*) + 76\n"
        "2       0x7a14577171ec /usr/lib/libtensorrt_llm.so(+0x1d5e699) [0x7a14577171ec]\n"
    )
    failure = find_failure(text.split("\n"))
    assert failure is not None
    assert failure.detail == "Assertion failed: the moon is full (/src/x.cpp:25)"


def test_a_cause_is_no_progress_bar() -> None:
    text = (
        f"{TRACE}ValueError: the moon is full\nProcessed prompts:   0%|          | 0/128 [00:02<?, ?it/s]\n"
        "Loading:  40% Completed | 6/15\n"
    )
    failure = find_failure(text.split("\n"))
    assert failure is not None
    assert failure.detail == "ValueError: the moon is full"


def test_an_error_in_the_same_line_as_a_progress_bar_is_seen() -> None:
    bar = "Processed prompts:   0%|          | 0/256 [00:00<?, ?it/s, est. speed input: 0.00 toks/s]"
    for text in (VLLM + "RuntimeError: the moon is full", TRACE + "RuntimeError: the moon is full"):
        failure = find_failure((bar + text).split("\n"))
        assert failure is not None
        assert failure.detail == "RuntimeError: the moon is full"


def test_a_message_of_several_lines_is_kept_whole() -> None:
    text = f"{TRACE}RuntimeError: the moon is full\nand so is the sun;\ntry another sky.\n\nsomething else\n"
    failure = find_failure(text.split("\n"))
    assert failure is not None
    assert failure.detail == "RuntimeError: the moon is full and so is the sun; try another sky."


@pytest.mark.parametrize("join", ["The above exception was the direct cause of the following exception:", ""])
def test_the_exception_that_caused_the_others_is_told(join: str) -> None:
    wrapped = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    text = f"{TRACE}KeyError: 'moon'\n\n{join}\n\n{TRACE}{wrapped}\n"
    failure = find_failure(text.split("\n"))
    assert failure is not None
    assert "KeyError: 'moon'" in failure.detail


def test_a_very_long_message_ends_at_a_word_with_a_sign_of_the_cut() -> None:
    failure = find_failure((TRACE + "ValueError: " + "moonlight " * 200).split("\n"))
    assert failure is not None
    assert failure.detail.endswith("moonlight …")


# --- what is no failure ------------------------------------------------------------------------------------------

STARTED = (
    "(APIServer pid=71) INFO 02-03 10:00:01 [utils.py:253] vLLM API server version 0.26.0\n"
    "{error}\n"
    "(APIServer pid=71) INFO:     Application startup complete.\n"
    '(APIServer pid=71) INFO:     127.0.0.1:4444 - "POST /v1/completions HTTP/1.1" 200 OK\n'
)


@pytest.mark.parametrize(
    "line",
    [
        "Cannot use FA version 2 is not supported due to FA2 is only supported on devices with compute capability >= 8",
        "some choice between kernels that nobody has heard of was not possible",
        "Error retrieving safetensors: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/x'.",
        (
            "Failed to import Triton kernels. Please make sure your triton version is compatible. Error: "
            "No module named 'triton_kernels.routing'"
        ),
    ],
)
def test_what_the_engine_got_over_is_no_failure(line: str) -> None:
    assert find_failure(STARTED.format(error=VLLM + line).split("\n")) is None


def test_an_error_after_the_start_counts() -> None:
    text = STARTED.format(error="") + VLLM + "RuntimeError: CUDA error: an illegal memory access was encountered\n"
    failure = find_failure(text.split("\n"))
    assert failure is not None
    assert (failure.name, failure.stage) == ("gpu_fault", "requests")


def test_known_harmless_lines_are_none_even_where_nothing_else_is_said() -> None:
    assert (
        find_failure([VLLM + "Cannot use FA version 2 is not supported due to FA2 is only supported on devices"])
        is None
    )
    assert all(re.compile(pattern) for pattern in HARMLESS)


def test_noise_at_shutdown_does_not_spoil_a_run_that_printed_its_figures() -> None:
    text = (
        "Throughput: 7.00 requests/s, 1792.00 total tokens/s, 896.00 output tokens/s\n"
        "(EngineCore pid=9) ERROR 02-03 10:01:00 [core.py:842] something about a socket\n"
    )
    assert find_failure(text.split("\n")) is None
    full = text + TRACE + "OSError: [Errno 28] No space left on device: '/campaign/output/report.json'\n"
    failure = find_failure(full.split("\n"))
    assert failure is not None
    assert (failure.name, failure.stage) == ("disk_full", "finished")


# --- no report, and no error -------------------------------------------------------------------------------------


def test_a_run_that_finished_without_a_report_is_not_said_to_have_stopped_before_the_first_request() -> None:
    lines = ["[TRT-LLM] [I] Starting benchmark...", "= PERFORMANCE OVERVIEW ", "Request Throughput (req/sec):  1.6667"]
    said = str(report_missing(lines, "--report_json"))
    assert said.startswith("report_missing: ")
    assert "after the requests had been served" in said
    assert "--report_json" in said
    assert "before the first request" not in said


def test_a_run_that_vanished_is_told_by_how_far_it_came() -> None:
    assert "while serving requests" in str(report_missing(["[TRT-LLM] [I] Starting benchmark..."], "--report_json"))
    assert "before the first request" in str(report_missing(["[TRT-LLM] [I] Preparing"], "--report_json"))
    assert "before" not in str(report_missing([], "--report_json")).partition(".")[0]


# --- any text ----------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [text for text, _ in WORDS] + [VLLM + "x", TRT + "y", "", "Usage: ", TRACE, "1 validation error for X", "{d}", "%s"]
)


@given(st.lists(PIECES | st.text(), max_size=8))
def test_any_log_gives_a_failure_or_none_without_error(pieces: list[str]) -> None:
    lines = "\n".join(pieces).split("\n")
    error_lines(lines)
    failure = find_failure(lines)
    assert failure is None or str(failure)


CASES = Path(__file__).parents[3] / "fixtures" / "engines" / "failures.json"


@pytest.mark.parametrize("case", json.loads(CASES.read_text()), ids=lambda case: str(case["name"]))
def test_whole_logs(case: dict[str, str | list[str]]) -> None:
    """Logs in the form that people posted, figures and places invented."""
    failure = find_failure(str(case["log"]).split("\n"))
    assert failure is not None
    assert failure.name == case["failure"]
    for word in case["says"]:
        assert word in str(failure)
