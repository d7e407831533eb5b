"""Causes of failure that engines are known to print, in the wordings of their sources, each with what to do about it.

Data only; :mod:`actors.engines.common.failures` searches. The wordings are those of PyTorch, CUDA, Triton, NCCL, Open
MPI, Hugging Face Hub, Transformers, pydantic, argparse, click, Docker's NVIDIA hook, the Linux kernel, TensorRT-LLM and
vLLM.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """``says`` is the detail, with the pattern's named groups filled in. ``reference`` is the class under which public
    collections of failures file it."""

    name: str
    reference: str
    pattern: str
    says: str
    remedy: str


LESS_MEMORY = (
    "Free memory first (`sync; echo 3 > /proc/sys/vm/drop_caches` as root: on unified memory the page cache counts "
    "as used), then ask for less: a smaller batch_size, kv_cache_fraction (trtllm), engine_options: {vllm: "
    "{gpu-memory-utilization: …}}, or a smaller model."
)
MORE_CACHE = (
    "Give the KV cache more room (kv_cache_fraction for trtllm, gpu-memory-utilization under engine_options for "
    "vllm), or ask for shorter sequences or fewer at a time (workload tokens, batch_size)."
)
NEWER_PTXAS = (
    "Point Triton at a ptxas that knows it: TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas under `variables:` of every "
    "environment (CUDA 12.9 or later for sm_121a), or take a newer image."
)
OTHER_KERNEL = (
    "Choose kernels built for this chip (trtllm: engine_options: {trtllm: {moe_config: {backend: CUTLASS}}}), a "
    "newer image that names this architecture, or a checkpoint in another precision."
)
NEWER_DRIVER = (
    "Update the NVIDIA driver on the host to the version that the image names, or take an image built for the CUDA "
    "version that `nvidia-smi` shows."
)
GET_WEIGHTS = (
    "Fetch them first with `campaign prepare` (nothing is downloaded while a run is measured), or give the folder as "
    "`path:` in models.yaml."
)
ACCEPT_LICENCE = (
    "Accept the model's licence on huggingface.co with the account that HF_TOKEN belongs to, set HF_TOKEN, then "
    "`campaign prepare`."
)
KERNEL_LOG = (
    "Look who did: `journalctl -k | grep -iE 'oom|killed process'`, `journalctl -u systemd-oomd -u earlyoom`, and "
    "memory.events of the attempt's cgroup. If memory ran out, ask for less (batch_size, kv_cache_fraction, "
    "gpu-memory-utilization), close other programs, or raise the environment's `memory:`."
)
FIX_OPTION = (
    "Compare with the program's own help in this image (`trtllm-bench --model x/y throughput --help`, `vllm bench "
    "throughput --help=all`), and correct engine_options in models.yaml or take an image whose version has the option."
)
FIX_SETTING = (
    "Correct the setting that is named: engine_options, batch_size or kv_cache_* of the model in "
    "models.yaml, or the workload's tokens."
)
SUPPORTED_MODEL = (
    "Take an image whose engine knows this architecture, another engine (`engine: vllm` or `trtllm`), "
    "or another checkpoint."
)
SEE_GPU = (
    "Check on the host that `nvidia-smi` lists the GPU, then how the environment reaches it: `gpu:` (toolkit, cdi or "
    "devices) in the campaign, NVIDIA_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES."
)
POWER_CYCLE = (
    "See `journalctl -k | grep -i xid` for what the GPU reported. Repeat once; if it comes back, restart the "
    "machine, and report it with the kernel log to the maker of the engine."
)

CAUSES: tuple[Cause, ...] = (
    # --- the image and its libraries ---
    Cause(
        "driver_library_missing",
        "environment",
        r"(?P<lib>libcuda\.so(?:\.1)?) (?:cannot found|cannot be found|not found)"
        r"|(?P<load>libcuda\.so(?:\.1)?|libnvidia-[\w-]+\.so[.\d]*): cannot open shared object file",
        "the driver's library {lib}{load} is not found inside",
        "The loader's cache inside has to list it (`ldconfig -p | grep libcuda`): in Docker the NVIDIA toolkit "
        "writes it (`gpu: {by: toolkit}` or cdi), in a chroot `sudo /sbin/ldconfig` in the exported root filesystem "
        "refreshes the linker cache; by hand, put the folder that holds libcuda.so.1 into LD_LIBRARY_PATH.",
    ),
    Cause(
        "library_missing",
        "environment",
        r"(?P<lib>lib[\w+.-]+\.so[.\d]*): cannot open shared object file"
        r"|Could not load library (?P<cudnn>lib[\w+.-]+)"
        r"|[Ff]ailed to (?:load|open) (?:shared )?(?:library|object)[^\n]{0,10}?['\" ](?P<load>lib[\w+.-]+\.so[.\d]*)",
        "{lib}{cudnn}{load} is not found",
        "Start through the image's entry point, which sets LD_LIBRARY_PATH (`docker run IMAGE COMMAND`, no "
        "--entrypoint), or put the folder that holds the library into LD_LIBRARY_PATH "
        "under the environment's `variables:`.",
    ),
    Cause(
        "library_mismatch",
        "environment",
        r"(?P<lib>[^\s:]+\.so[\w.]*): (?:undefined symbol: (?P<symbol>\S+)|version [`'](?P<version>[^'\n]+)' not found)"
        r"|symbol lookup error: (?P<lookup>[^\n]{0,160})",
        "{lib}{lookup} does not fit the libraries beside it {symbol}{version}",
        "Two versions of a library are mixed: remove what LD_LIBRARY_PATH, LD_PRELOAD, PYTHONPATH or a mount puts "
        "over the image's own, or take the image unchanged.",
    ),
    Cause(
        "wrong_architecture",
        "environment",
        r"(?P<d>[Ee]xec format error|cannot execute binary file|wrong ELF class[^\n]{0,40}|invalid ELF header)",
        "{d}: built for another processor",
        "Take the image for this machine's processor (linux/arm64 on a DGX Spark); an index of several must be "
        "pulled there, or with --platform linux/arm64.",
    ),
    Cause(
        "module_missing",
        "environment",
        r"ModuleNotFoundError: No module named '(?P<d>[^'\n]+)'",
        "Python finds no module '{d}' inside",
        "Take an image that has it; if the image has, something changes where Python looks (PYTHONPATH, PATH, a "
        "mount over the image's packages).",
    ),
    # --- driver and device ---
    Cause(
        "driver_too_old",
        "environment",
        r"built for NVIDIA Driver Release (?P<want>[\d.]+) or later,? but\s+version (?P<have>[\d.]+) was detected"
        r"|unsatisfied condition: (?P<cond>(?:cuda|driver)\s*>=\s*[\d.]+)",
        "the image wants driver {want}{cond}, the host has {have}",
        NEWER_DRIVER,
    ),
    Cause(
        "gpu_unavailable",
        "environment",
        r"NVIDIA driver on your system is too old \(found version (?P<have>\d{1,6})\)",
        "driver_too_old: PyTorch in the image is built for a newer CUDA than the driver offers (CUDA {have:cuda}, "
        "it says {have})",
        NEWER_DRIVER,
    ),
    Cause(
        "gpu_unavailable",
        "environment",
        r"(?P<d>CUDA driver version is insufficient for CUDA runtime version|driver version is insufficient"
        r"|cudaErrorInsufficientDriver|forward compatibility was attempted on non supported HW"
        r"|CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"
        r"|the provided PTX was compiled with an unsupported toolchain|CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
        r"|cudaErrorUnsupportedPtxVersion|system not yet initialized)",
        "driver_too_old: {d}",
        NEWER_DRIVER,
    ),
    Cause(
        "gpu_unavailable",
        "environment",
        r"Driver/library version mismatch",
        "the driver's library and its kernel module are of different versions",
        "The driver was updated while loaded: restart the machine.",
    ),
    Cause(
        "gpu_unavailable",
        "environment",
        r"(?P<d>Found no NVIDIA driver|[Nn]o CUDA-capable device|CUDA_ERROR_NO_DEVICE|No CUDA GPUs are available"
        r"|NVIDIA Driver was not detected"
        r"|Failed to infer device type|could not select device "
        r"driver|CUDA_ERROR_NOT_INITIALIZED|CUDA_ERROR_INVALID_DEVICE"
        r"|invalid device ordinal|CUDA-capable device\(s\) is/are busy or unavailable|NVML Shared Library Not Found"
        r"|NVMLError_LibraryNotFound|NVMLError_DriverNotLoaded|Driver Not Loaded|Can't initialize NVML"
        r"|Torch not compiled with CUDA enabled"
        r"|CUDA unknown error - this may be due to an incorrectly set up environment|cuda is not available"
        r"|Unexpected error from cudaGetDeviceCount"
        r"|nvidia-container-cli: initialization error|unresolvable CDI devices?|0 active drivers"
        r"|CUDA error: initialization error|CUDA initialization error|cudaErrorInitializationError"
        r"|CUDA_ERROR_SYSTEM_NOT_READY|unsupported display driver / cuda driver combination)",
        "{d}",
        SEE_GPU,
    ),
    Cause(
        "nvml_not_supported",
        "environment",
        r"(?:NVMLError_NotSupported|nvmlDeviceGetMemoryInfo[^\n]*[Nn]ot [Ss]upported|NVML_ERROR_NOT_SUPPORTED)",
        "NVML gives no memory on this device",
        "`trtllm-bench latency` and heuristics that size themselves by it cannot run here: run `trtllm-bench "
        "throughput --streaming --concurrency 1 --max_batch_size 1 --max_num_tokens N` instead, as a campaign's "
        "latency workload does, and give both limits always.",
    ),
    # --- compilers and kernels ---
    Cause(
        "toolchain_too_old",
        "environment",
        r"Value '(?P<arch>sm_\w+)' is not defined for option '?gpu-name"
        r"|(?P<bare>sm_1[0-9]{2}[af]?) is not defined"
        r"|Unsupported gpu architecture '(?P<nvcc>(?:compute|sm)_\w+)'"
        r"|invalid value for --gpu-architecture \((?P<nvrtc>[^)\n]+)\)"
        r"|unknown target(?: CPU)? '(?P<llvm>sm_\w+)'"
        r"|'(?P<proc>sm_\w+)' is not a recognized processor"
        r"|(?:[Uu]nsupported|Unknown) (?:GPU|CUDA) arch\w*[: ]+'?(?P<torch>(?:sm_|compute_)?[\d.]+[af]?)",
        "the compiler in the image does not know {arch}{bare}{nvcc}{nvrtc}{llvm}{proc}{torch}",
        NEWER_PTXAS,
    ),
    Cause(
        "toolchain_too_old",
        "environment",
        r"(?P<d>\.tile::scatter4 not supported|PTX version [\d.]+ does not support|Unsupported \.version [\d.]+"
        r"|Feature '[^'\n]+' requires PTX ISA"
        r"|Feature '[^'\n]+' not supported on \.target '?\w+"
        r"|Instruction '[^'\n]+' not supported on \.target '?\w+|Modifier '[^'\n]+' requires \.target)",
        "ptxas in the image is too old: {d}",
        NEWER_PTXAS,
    ),
    Cause(
        "toolchain_missing",
        "environment",
        r"(?P<d>Failed to find C compiler|Could not find nvcc|nvcc: (?:command )?not found"
        r"|CUDA_HOME environment variable is not set|"
        r"(?:Cannot|Could not) find ptxas[^\n]{0,60}|Ninja is required to load C\+\+ extensions"
        r"|No such file or directory: '(?:ninja|nvcc|gcc|ptxas|[^'\n]*/nvcc)'"
        r"|fatal error: Python\.h: No such file or directory|Error building extension '[^'\n]+'|Ninja build failed"
        r"|Command '\['(?:ninja|nvcc|gcc)'[^\n]*returned non-zero exit status \d+)",
        "kernels are compiled at start, and the compiler is missing or failed: {d}",
        "Take the image that carries compiler and headers (the -devel variant), set CC, CUDA_HOME and PATH to them "
        "under `variables:`, or choose kernels that are shipped compiled.",
    ),
    Cause(
        "toolchain_too_old",
        "environment",
        r"(?:ptxas fatal\s*: (?P<ptxas>[^\n]{0,160})|PTXASError: (?P<d>[^\n]{0,160})"
        r"|Internal Triton PTX codegen error)",
        "ptxas could not translate a kernel: {ptxas}{d}",
        NEWER_PTXAS,
    ),
    Cause(
        "kernel_unavailable",
        "environment",
        r"(?P<d>does not support SM ?\d+(?: and above)?|Failed to run cutlass FP4 gemm on sm\d+"
        r"|no kernel image is available[^\n]{0,40}|cudaErrorNoKernelImageForDevice"
        r"|CUDA_ERROR_NO_BINARY_FOR_GPU|Arch unsupported for CUTLASS[^\n]{0,30}|Unsupported (?:GPU "
        r"|CUDA )?arch(?:itecture)?\b[^\n(]{0,40}|[Aa]rchitecture (?:is )?not supported[^\n]{0,40}"
        r"|is only supported on (?:\w+ )?(?:SM ?\d+|Hopper|Blackwell|devices)[^\n]{0,60}"
        r"|[Uu]nsupported SM(?: version)?[: ]\s*\w+|not supported on (?:SM|sm_)\s?\d+\w*"
        r"|not compatible with the current PyTorch installation|No (?:supported|compatible) (?:CUTLASS|FlashInfer"
        r"|kernel)[^\n]{0,60}|requires (?:compute capability|SM) ?\d[^\n]{0,60}"
        r"|No valid attention backend[^\n]{0,60}|[Ff]ailed to find a kernel that can implement[^\n]{0,40}"
        r"|Error Internal\b[^\n]{0,40}cutlass|Failed to initialize cutlass[^\n]{0,60}"
        r"|does not support (?:backend|(?:compute )?capability)[^\n]{0,60}"
        r"|[Uu]nsupported compute capability[^\n]{0,30}|sm_?1\d\d\w* is not supported"
        r"|capability \(?\d+[., ]+\d+\)? is not supported|not supported on (?:this|the current) (?:GPU|device"
        r"|arch\w*)[^\n]{0,40}|CUDA error: invalid device function|kernels? (?:are |is )?(?:unavailable for"
        r"|not found)[^\n]{0,60}|Error occurred when running GEMM|no valid (?:config|tactic)s?[^\n]{0,60}"
        r"|No supported CUDA architectures found[^\n]{0,60}|There is no kernel for[^\n]{0,60})",
        "{d}",
        OTHER_KERNEL,
    ),
    # --- what cannot be loaded ---
    Cause(
        "unsupported_architecture",
        "unsupported_model",
        r"Unknown architecture for AutoModelForCausalLM: (?P<d>\S+)",
        "{d}",
        SUPPORTED_MODEL,
    ),
    Cause(
        "unsupported_architecture",
        "unsupported_model",
        r"model type [`'\"]?(?P<d>[\w.-]+)[`'\"]? but Transformers does not recognize"
        r"|Model architectures \[?'?(?P<vllm>[^\n\]']+)'?\]? (?:are not supported|failed to be inspected)"
        r"|Unrecognized configuration class (?P<cls>[^\n]{0,80})|(?P<none>\w+) has no vLLM implementation"
        r"|Unsupported model architecture:? (?P<arch>\S+)|[Uu]nknown model architecture: '?(?P<gguf>[\w.-]+)"
        r"|Cannot find model module\. '?(?P<mod>\w+)",
        "{d}{vllm}{cls}{none}{arch}{gguf}{mod}",
        SUPPORTED_MODEL,
    ),
    Cause(
        "unsupported_quantization",
        "unsupported_model",
        r"(?P<d>[Uu]nsupported quant\w*[^\n]{0,60}|Unknown quantization method[^\n]{0,60}"
        r"|Quantization method specified in the model config[^\n]{0,120}"
        r"|quantization method \S+ is not supported for the current GPU[^\n]{0,60}"
        r"|Cannot find the config file for (?:awq|gptq)[^\n]{0,20}"
        r"|Weight (?:input|output)_size_per_partition[^\n]{0,60})",
        "{d}",
        "Take a checkpoint in a format that this engine reads (trtllm: ModelOpt exports with hf_quant_config.json; "
        "vllm: AWQ, GPTQ, compressed-tensors, ModelOpt), or the other engine.",
    ),
    Cause(
        "missing_weights",
        "missing_weights",
        r"(?P<d>GatedRepoError|Access to model [^\n]{0,80} is restricted|Cannot access gated repo"
        r"|You are trying to access a gated repo"
        r"|401 Client Error|403 Client Error|Invalid user token|Invalid credentials in Authorization header)",
        "the Hub refuses: {d}",
        ACCEPT_LICENCE,
    ),
    Cause(
        "missing_weights",
        "missing_weights",
        r"(?P<d>RepositoryNotFoundError|RevisionNotFoundError|EntryNotFoundError|HFValidationError"
        r"|404 Client Error[^\n]{0,80})",
        "the Hub knows no such model, revision or file: {d}",
        "Correct huggingface_id and revision of the model in models.yaml, then `campaign prepare`.",
    ),
    Cause(
        "missing_weights",
        "missing_weights",
        r"(?P<d>LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled"
        r"|We couldn't connect to '?https://huggingface\.co"
        r"|couldn't find (?:it|them) in the cached files|Cannot reach https://huggingface\.co[^\n]{0,40}"
        r"|offline mode is enabled|Cannot find an appropriate cached snapshot"
        r"|Failed to resolve 'huggingface\.co'|HTTPSConnectionPool\(host='huggingface\.co'|Name or service not known"
        r"|Temporary failure in name resolution|\[Errno -[23]\])",
        "files of the model are not here, and nothing is fetched while a run is measured: {d}",
        GET_WEIGHTS,
    ),
    Cause(
        "missing_weights",
        "missing_weights",
        r"(?P<d>(?:No weight files found|[Cc]an ?not find (?:any )?(?:model|weight|checkpoint|safetensors)|"
        r"is not a local folder and is not a valid model identifier|does not appear to have (?:a|any) files? named"
        r"|Can't load (?:tokenizer|the configuration|the model)|"
        r"No such file or directory:? '?[^'\n]*(?:\.safetensors|\.bin|\.gguf|config\.json|tokenizer[\w.]*|/models?/)"
        r"|(?:Invalid|Unrecognized) (?:repository ID or local directory|model in)"
        r"|Repo id must (?:be in the form|use alphanumeric)|failed to load model)[^\n]{0,160})",
        "{d}",
        GET_WEIGHTS,
    ),
    Cause(
        "damaged_weights",
        "missing_weights",
        r"(?P<d>SafetensorError|safetensors_rust|Error while deserializing header|MetadataIncompleteBuffer"
        r"|HeaderTooLarge|InvalidHeaderDeserialization"
        r"|PytorchStreamReader failed|failed finding central directory|size mismatch for [^\n]{0,80}"
        r"|Following weights were not initialized[^\n]{0,80}"
        r"|invalid magic|tensor '[^'\n]+' data is not within the file bounds|UnpicklingError[^\n]{0,60})",
        "a weights file cannot be read: {d}",
        "A download was cut off or a file is damaged: delete the named file (else the model's folder) and fetch it "
        "again with `campaign prepare`.",
    ),
    # --- memory ---
    Cause(
        "out_of_memory",
        "oom",
        r"CUDA out of memory\. Tried to allocate (?P<size>[\d.]+ [KMGT]i?B)\.[^\n]*?of "
        r"which (?P<free>[\d.]+ [KMGT]i?B|0 bytes) is free",
        "tried to allocate {size} of GPU memory, {free} free",
        LESS_MEMORY,
    ),
    Cause(
        "out_of_memory",
        "oom",
        r"CUDA out of memory\. Tried to allocate (?P<size>[\d.]+ [KMGT]i?B)",
        "tried to allocate {size} of GPU memory",
        LESS_MEMORY,
    ),
    Cause(
        "out_of_memory",
        "oom",
        r"(?P<d>Free memory on device [^\n]{0,60}is less than desired GPU memory utilization(?: \([^)\n]*\))?"
        r"|CUDA out of memory occurred when [^\n.]{0,80}"
        r"|Executor creation failed due to insufficient GPU memory"
        r"|Error in memory profiling\. Initial free memory[^\n]{0,80})",
        "{d}",
        LESS_MEMORY,
    ),
    Cause(
        "out_of_memory",
        "oom",
        r"(?P<d>Memory cgroup out of memory|[Oo]ut of memory: Kill(?:ed)? process [^\n]{0,60}|invoked oom-killer"
        r"|oom[-_]kill\w*[:=]|OOMKilled|oom_reaper: reaped[^\n]{0,60}"
        r"|killed due to the node running low on memory|killed by the OOM killer|systemd-oomd killed"
        r"|earlyoom[^\n]{0,40}sending SIG\w+|mem avail:[^\n]{0,60}sending SIG\w+)",
        "killed by the kernel, memory ran out: {d}",
        KERNEL_LOG,
    ),
    Cause(
        "out_of_memory",
        "oom",
        r"(?P<d>torch\.(?:cuda\.)?OutOfMemoryError|CUDA error: out of memory"
        r"|CUDA runtime error in [^\n]*: out of memory|cuda(?:_e|E)rror(?:MemoryAllocation|_out_of_memory)"
        r"|CUDA_ERROR_OUT_OF_MEMORY"
        r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|cudaMalloc\w*[^\n]{0,60}out of memory|(?:HIP"
        r"|CUDA) out of memory|NCCL[^\n]{0,80}[Cc]uda failure[^\n]{0,20}'?out of memory"
        r"|OutOfMemory(?:Error)?\b[^\n]{0,60}|ggml_\w+: failed to allocate[^\n]{0,80}|failed to allocate (?:buffer"
        r"|compute)[^\n]{0,60}|CUDA failure 2: out of memory)",
        "GPU memory ran out: {d}",
        LESS_MEMORY,
    ),
    Cause(
        "out_of_memory",
        "oom",
        r"(?P<d>DefaultCPUAllocator: can't allocate memory|\[Errno 12\] Cannot allocate memory|\bstd::bad_alloc\b"
        r"|(?:^|\s)MemoryError\b|[Uu]nable to allocate [\d.]+ [KMGT]iB"
        r"|[Cc]annot allocate memory|mmap failed: Cannot allocate|Unable to pin "
        r"memory|memlock limit|cudaHostAlloc[^\n]{0,40})",
        "host memory ran out: {d}",
        LESS_MEMORY,
    ),
    Cause(
        "kv_cache_too_small",
        "config",
        r"(?P<d>default_max_tokens \(-?\d+\) must be greater than 0)",
        "{d}",
        MORE_CACHE,
    ),
    Cause(
        "kv_cache_too_small",
        "config",
        r"model's max seq(?:uence)? len(?:gth)? \((?P<len>\d+)\) is larger than the maximum number of tokens that "
        r"can be stored in KV cache \((?P<tokens>\d+)\)",
        "a sequence of {len} tokens does not fit into a KV cache of {tokens}",
        MORE_CACHE,
    ),
    Cause(
        "kv_cache_too_small",
        "config",
        r"(?P<d>No available memory for the cache blocks|larger than the available KV cache memory(?: \([^)\n]*\))?"
        r"|(?:The )?estimated maximum model length is \d+"
        r"|[Nn]o (?:more )?free KV cache blocks|KV cache (?:is )?too small[^\n]{0,60}"
        r"|[Ii]nsufficient (?:GPU )?(?:memory|blocks) for (?:the )?KV cache[^\n]{0,40}"
        r"|free_gpu_memory_fraction[^\n]{0,60}too (?:small|low)|Not enough (?:memory"
        r"|blocks) for (?:the )?KV cache[^\n]{0,40}|failed to create context with model)",
        "{d}",
        MORE_CACHE,
    ),
    # --- what was asked for ---
    Cause(
        "prompt_too_long",
        "config",
        r"(?P<d>The (?:sum of )?prompt length [^\n]*should not exceed max_num_tokens[^\n]{0,40}"
        r"|(?:The )?(?:decoder |encoder )?prompt[^\n]{0,40}\(length \d+\)[^\n]{0,20}longer "
        r"than the maximum model length[^\n]{0,20}"
        r"|maximum context length is \d+ tokens[^\n]{0,160})",
        "{d}",
        "Raise max_num_tokens of the model in models.yaml (trtllm) or max-model-len under engine_options (vllm), or "
        "ask for shorter prompts in the workload.",
    ),
    Cause(
        "sequence_too_long",
        "config",
        r"User-specified max_model_len \((?P<asked>\d+)\) "
        r"is greater than the derived max_model_len \((?P<own>[^\n)]{0,120})\)?",
        "max_model_len {asked} is more than the model itself allows ({own})",
        "Ask for fewer input and output tokens in the workload, or set max-model-len under engine_options: vllm to "
        "what the model's config.json allows.",
    ),
    Cause(
        "sequence_too_long",
        "config",
        r"(?P<d>Engine supports a max sequence of [^\n]{0,80}|max_seq_len[^\n]{0,40}(?:exceeds|is (?:larger"
        r"|greater) than)[^\n]{0,80}|[Ll]ength \(?\d+\)? (?:exceeds|is longer than) (?:the )?max(?:imum)?[^\n]{0,60})",
        "{d}",
        "Build the engine for longer sequences (`campaign prepare` takes the longest workload), "
        "or ask for fewer tokens in the workload.",
    ),
    Cause(
        "engine_of_another_version",
        "config",
        r"(?P<d>[Ff]ailed to deserialize cuda engine|[Ee]ngine plan file is not compatible "
        r"with this version of TensorRT[^\n]{0,60}"
        r"|Serialization assertion [^\n]{0,100}|Version tag does not match[^\n]{0,60})",
        "the built engine is of another version or device: {d}",
        "Delete the model's folder below trtllm/engines in Campaign's home, "
        "and let `campaign prepare` build it with this image.",
    ),
    Cause(
        "empty_prompt",
        "config",
        r"(?P<d>(?:decoder|encoder)? ?prompt cannot be empty)",
        "the {d}: the tokenizer turned the random tokens into no text",
        "Give the model a tokenizer that decodes every id to text (byte-level BPE), or take the model's own.",
    ),
    Cause(
        "unknown_option",
        "config",
        r"(?P<d>No such (?:option|command)[^\n]{0,120}|Missing (?:option|argument|command|parameter)[^\n]{0,80}"
        r"|unrecognized arguments?: [^\n]{0,160}"
        r"|argument \S+: (?:invalid|expected|ignored|not allowed)[^\n]{0,200}"
        r"|the following arguments are required: [^\n]{0,120}"
        r"|ambiguous option: [^\n]{0,120}|invalid choice: [^\n]{0,200}|Invalid value for [^\n]{0,200}"
        r"|Got unexpected extra arguments? [^\n]{0,100}"
        r"|[Oo]ption '?-\S+ (?:requires|does not take)[^\n]{0,60}|unrecognized option[^\n]{0,80}|unknown (?:option"
        r"|argument):? [^\n]{0,80}|invalid option -- [^\n]{0,40})",
        "{d}",
        FIX_OPTION,
    ),
    Cause(
        "engine_missing",
        "environment",
        r"(?P<d>(?:trtllm-bench|vllm|python3?|bash)[^\n]{0,20}not found[^\n]{0,20}|exec:? \"?(?:trtllm-bench"
        r"|vllm)\"?[^\n]{0,60}executable file not found[^\n]{0,20}"
        r"|No such file or directory: '(?:trtllm-bench|vllm)'|(?:trtllm-bench|vllm): No such file or directory)",
        "{d}",
        "Take an image that holds the engine, started through its entry point; if the program is in it, PATH of the "
        "environment does not lead there.",
    ),
    # --- several processes ---
    Cause(
        "mpi",
        "environment",
        r"There are not enough slots available in the system",
        "Open MPI has fewer slots than the processes asked for",
        "Ask for one process per GPU that the environment gives (tensor parallel size in engine_options), or allow "
        "more: OMPI_MCA_rmaps_base_oversubscribe=1 under `variables:`.",
    ),
    Cause(
        "mpi",
        "environment",
        r"(?P<d>mpirun has detected an attempt to run as root|(?:PMIx?_Init|MPI_Init\w*|orte_init|opal_init"
        r"|prte_init)[^\n]{0,40}fail\w*[^\n]{0,60}|It looks like (?:MPI_INIT|orte_init|opal_init|prte_init) failed"
        r"|ORTE was unable to [^\n]{0,80}|PRTE (?:ERROR|has lost communication)[^\n]{0,80}"
        r"|unable to launch the specified application|MPIPoolExecutor[^\n]{0,40}(?:not|fail)[^\n]{0,40}"
        r"|Unable to start a daemon on the local node|OPAL ERROR: [^\n]{0,60})",
        "{d}",
        "Start through the image's entry point with its own MPI (OPAL_PREFIX and LD_LIBRARY_PATH as the image sets "
        "them), and as root set OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1.",
    ),
    Cause(
        "nccl",
        "environment",
        r"NCCL error[^\n]{0,160}?'(?P<quoted>[^'\n]{0,160})'"
        r"|(?P<d>Executor creation failed with NCCL error|NCCL error[^\n]{0,160}|ncclUnhandledCudaError[^\n]{0,120}"
        r"|ncclSystemError[^\n]{0,120}|ncclInternalError[^\n]{0,120}|ncclInvalidUsage[^\n]{0,120}"
        r"|ncclRemoteError[^\n]{0,120}|DistBackendError[^\n]{0,120}"
        r"|Watchdog caught collective operation timeout[^\n]{0,80}|NCCL (?:WARN|failure)[^\n]{0,120}"
        r"|NCCL communicator was aborted[^\n]{0,60})",
        "{quoted}{d}",
        "One GPU needs no NCCL between hosts: check that the environment gives the GPU count asked for, shared "
        "memory (`ipc: host` or `shm_size:`), and run once with NCCL_DEBUG=INFO under "
        "`variables:` to see which call failed.",
    ),
    # --- the machine ---
    Cause(
        "disk_full",
        "environment",
        r"No space left on device|\[Errno 28\]|[Dd]isk quota exceeded",
        "no space left on a disk",
        "Free space where the attempt writes (`df -h` for .campaign, the results folder, /tmp and Docker's root), "
        "or move them.",
    ),
    Cause(
        "read_only",
        "environment",
        r"(?P<d>(?:\[Errno 30\] )?Read-only file system[^\n]{0,120}"
        r"|(?:\[Errno 13\] )?Permission denied:? '[^'\n]{0,120}')",
        "a place that must be written cannot be: {d}",
        "Only the output folder and the cache are writable in a run: point the named path there with a variable "
        "under `variables:`, or mount a writable folder.",
    ),
    Cause(
        "shared_memory",
        "environment",
        r"(?P<d>insufficient shared memory|Bus error|unable to (?:open|allocate) shared memory[^\n]{0,60}"
        r"|unable to mmap \d+ bytes from file </[^\n]{0,60}|SIGBUS|shared memory segment[^\n]{0,60}(?:fail"
        r"|too small)[^\n]{0,40}|/dev/shm[^\n]{0,80})",
        "shared memory is too small, or a mapped file went away: {d}",
        "Use `ipc: host`, or a larger `shm_size:` (inert under ipc: host); "
        "check that no file system below a mount was unmounted or is full.",
    ),
    Cause(
        "port_in_use",
        "environment",
        r"(?P<d>[Aa]ddress already in use[^\n]{0,60})",
        "{d}",
        "Another program, perhaps an earlier server, listens on that port: end it (`ss -ltnp`), then resume.",
    ),
    Cause(
        "limits",
        "environment",
        r"(?P<d>Too many open files|[Rr]esource temporarily unavailable|can't start new thread|pthread_create failed"
        r"|[Nn]o file descriptors available)",
        "a limit of the process is too low: {d}",
        "Raise it in the environment's `ulimits:` (nofile), "
        "and pids or tasks limits of the service that Docker or the harness runs in.",
    ),
    Cause(
        "gpu_fault",
        "crash",
        r"(?P<d>an illegal memory access was encountered|unspecified launch failure|uncorrectable ECC error"
        r"|CUDA error: device-side assert triggered|misaligned address"
        r"|CUDA_ERROR_ILLEGAL_ADDRESS|CUDA_ERROR_LAUNCH_FAILED|CUDA error: an illegal instruction"
        r"|cudaErrorIllegalAddress|cudaErrorIllegalInstruction|GPU is lost|has fallen off the bus|NVRM: Xid[^\n]{0,100}"
        r"|CUBLAS_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR|NOT_SUPPORTED|INVALID_VALUE)"
        r"|CUDNN_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR)|CUDA error: unknown error"
        r"|the launch timed out and was terminated)",
        "the GPU stopped on an error: {d}",
        POWER_CYCLE,
    ),
    # --- settings that a validator refuses; after everything it may wrap ---
    Cause(
        "invalid_configuration",
        "config",
        r"\d+ validation errors? for (?P<cls>\w+)\n?\s*(?P<d>[^\n]{0,400}(?:\n(?!\s*For further)[^\n]{0,300})?)",
        "{cls}: {d}",
        FIX_SETTING,
    ),
    # --- ended from outside, or by itself ---
    Cause(
        "killed",
        "killed",
        r"(?P<d>(?:line \d+:\s+\d+ |^|\s)Killed(?:\s|$)[^\n]{0,80}|exit(?:ed)?(?: with)?(?: code| status)?:? (?:137"
        r"|-9)\b|exitcode\s*[=:] ?-9\b|Failed core proc\(s\): \{[^}\n]*: -9\b|non-zero exit status 137"
        r"|code[=:] ?137\b|[Ss]ignal:? ?(?:9\b|Killed)|on signal 9|SIGKILL|died with <Signals\.SIGKILL: 9>)",
        "ended by SIGKILL, which the kernel's OOM killer sends when memory runs out: {d}",
        KERNEL_LOG,
    ),
    Cause(
        "terminated",
        "killed",
        r"(?P<d>exit(?:ed)?(?: with)?(?: code| status)?:? (?:143|-15)\b|on signal 15|(?:line \d+:\s+\d+ )Terminated\b"
        r"|SIGTERM received|Received signal 15|died with <Signals\.SIGTERM: 15>|^KeyboardInterrupt|Aborted!$)",
        "ended from outside: {d}",
        "Somebody or something stopped it (a person, a service manager, systemd-oomd): "
        "`journalctl` around that time tells; then resume.",
    ),
    Cause(
        "out_of_memory",
        "oom",
        r"Executor creation failed with an error which might indicate insufficient GPU memory",
        "perhaps: the engine says its failure might mean insufficient GPU memory",
        LESS_MEMORY,
    ),
    Cause(
        "requests_failed",
        "requests",
        r"Requests failed: (?P<d>[^\n]{0,300})",
        "{d}",
        "The engine took the requests and failed on them: the words above are its own; "
        "the attempt's stderr.log has the whole traceback.",
    ),
    Cause(
        "timed_out",
        "crash",
        r"(?P<d>Timed out waiting for engine core[^\n]{0,80}|RPC call to \w+ timed out|Timeout waiting for (?:server"
        r"|endpoint)[^\n]{0,60}|Server did not (?:start|become ready)[^\n]{0,60}|did not "
        r"respond within[^\n]{0,60}|Hang detected[^\n]{0,80})",
        "{d}",
        "Look at what it was doing last in stdout.log; a first start compiles kernels for minutes (`campaign "
        "shakedown` makes the caches), and a hang in decode at low power is cured by a restart of the machine.",
    ),
    Cause(
        "crashed",
        "crash",
        r"(?P<d>Signal: [A-Za-z ]+|MPI_ABORT was invoked|Segmentation fault|Process received signal"
        r"|Fatal Python error: [^\n]{0,80}|terminate called after throwing[^\n]{0,120}"
        r"|double free or corruption[^\n]{0,20}|free\(\): invalid[^\n]{0,20}"
        r"|Aborted(?: \(core dumped\))|core dumped|exit(?:ed)?(?: with)?(?: code| status)?:? (?:139|134|-11|-6)\b"
        r"|on signal (?:6|11)\b|Illegal instruction|GGML_ASSERT\([^\n]{0,100})",
        "{d}",
        "The engine's own code crashed: repeat once, then take another version of the image; "
        "`coredumpctl` and the kernel log may say where.",
    ),
    Cause(
        "executor_failed",
        "executor",
        r"(?P<d>Executor worker returned error|Executor creation failed[^\n]{0,80}|Engine core initialization failed"
        r"|EngineCore (?:failed to start|encountered (?:a fatal error|an issue))|EngineDeadError"
        r"|Engine core proc[^\n]{0,30} died unexpectedly"
        r"|WorkerProc initialization failed|Engine process failed to start|Executor worker (?:died|exited)[^\n]{0,40}"
        r"|exited with non-zero status|Worker(?:Proc)? [^\n]{0,40}died unexpectedly)",
        "{d}, and nothing above it says why",
        "Read the attempt's stderr.log from its first error on; if a process just vanished, "
        "see the kernel log for the OOM killer.",
    ),
)
"""Most telling first: a wrapper such as "Executor worker returned error" only counts
when nothing above it explains it."""

HARMLESS: tuple[str, ...] = (
    r"Cannot use FA version \d|FA\d is only supported on devices",
    r"\[Autotuner\]",
    r"Error retrieving (?:safetensors|file list): Repo id must be",
    (
        r"Failed to import (?:Triton kernels|from vllm\._C)|Failed to import "
        r".{0,60}(?:triton_kernels|flash_attn|flashinfer|deep_gemm|nixl)"
    ),
    (
        r"Unable to register cu(?:DNN|BLAS|FFT) factory|computation_placer.*already registered"
        r"|Could not find (?:cuda drivers|TensorRT)|TF-TRT Warning"
    ),
    r"object '[^']*' from LD_PRELOAD cannot be preloaded.*ignored",
    r"PRTE ERROR: Bad parameter in file|deprecated MPI_Info key",
    r"(?:Endpoint is not ready|Cannot connect to host|ConnectionRefusedError|Connection refused)",
    r"destroy_process_group\(\) was not called|resource_tracker: There appear to be \d+ leaked",
    (
        r"NIXL is not available|Error (?:parsing|loading) plugin|Failed to (?:get|read) (?:usage|cpu|gpu) "
        r"(?:stats|info)|usage[_ ]stats"
    ),
    r"pip's dependency resolver|Invalid -W option ignored",
)
"""Error lines that engines write and get over: a choice between kernels, an optional part that is not there."""

WRAPPERS = (
    r"Engine process failed to start|Executor worker (?:died|exited)|exited with non-zero status"
    r"|Child job \d+ terminated normally|"
    r"Executor worker returned error|Engine core initialization failed|EngineCore (?:failed to start|encountered)"
    r"|EngineDeadError|died unexpectedly"
    r"|WorkerProc initialization failed|ended before the benchmark, exit code|^SystemExit|CalledProcessError"
    r"|MPI_ABORT was invoked|Primary job +terminated normally"
    r"|Failed core proc|See root cause above|^Exception: WorkerProc|Process \w+-\d+:$|^Aborted!$|ChildFailedError"
)
"""What a process says because another one failed."""
