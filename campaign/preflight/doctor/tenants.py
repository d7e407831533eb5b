"""Who else uses this machine's GPU: programs that hold it, and services that will when somebody asks them."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import Any

from actors import processes
from campaign.preflight.doctor.finding import Asked, Finding, commands

TENANTS = {
    "Ollama": (r"(^|/)ollama(\s|$)", "sudo systemctl stop ollama"),
    "ComfyUI": (r"comfyui", ""),
    "text-generation-inference": (r"text-generation-(launcher|server|router)", ""),
    "text-generation-webui": (r"text-generation-webui|oobabooga", ""),
    "Stable Diffusion web UI": (r"stable-diffusion-webui|invokeai", ""),
    "vLLM": (r"(^|/)vllm(\s|$)|vllm\.entrypoints|VLLM::", ""),
    "SGLang": (r"sglang(\.launch_server|::|\s+serve)", ""),
    "llama.cpp": (r"(^|/)llama-(server|cli|swap)(\s|$)", ""),
    "LM Studio": (r"lm[- ]?studio|(^|/)lms(\s|$)|llmster", ""),
    "TensorRT-LLM": (r"(^|/)trtllm-(serve|bench)(\s|$)", ""),
    "Triton": (r"(^|/)tritonserver(\s|$)", ""),
    "LocalAI": (r"(^|/)local-?ai(\s|$)", ""),
    "TabbyAPI": (r"tabbyapi|(^|/)tabby\s+serve", ""),
    "Whisper": (r"whisper(x|-server|-asr)", ""),
    "NIM": (r"(^|/)nim(-llm)?[-_]serve|/opt/nim/", ""),
    "mining": (r"(^|/)(xmrig|t-rex|nbminer|lolminer)(\s|$)", ""),
}
"""By name: what its process is called or says on its command line, and how it is stopped where that is known. Most load
a model only when they are asked, so a GPU that is free now need not stay so."""


def tenants(asked: Asked) -> Finding:
    ours = _own_tree() if asked.live else set()
    found: dict[str, list[int]] = {}
    remedies: dict[str, None] = {}
    for pid, (name, line) in commands(asked.root).items():
        if pid in ours:
            continue
        for tenant, (pattern, stop) in TENANTS.items():
            if any(
                re.search(pattern, what, re.IGNORECASE) for what in (name, _program(line, _folder(asked.root, pid)))
            ):
                found.setdefault(tenant, []).append(pid)
                if stop:
                    remedies[f"`{stop}` for the campaign's time."] = None
                break
    words = [
        f"{tenant} ({', '.join(map(str, pids[:3]))}{', …' if len(pids) > 3 else ''})" for tenant, pids in found.items()
    ]
    if asked.live and (held := _containers(asked.home)):
        words += held
        remedies["`docker stop NAME` for the campaign's time."] = None
    if not words:
        return "ok", "no program that would load a model on the GPU", ""
    advice = (
        "\n".join(remedies)
        or "End them for the campaign's time; those that are services come back by themselves (`systemctl stop`)."
    )
    return "warn", f"{', '.join(words)}: it may take the GPU and its memory at any time", advice


INTERPRETER = re.compile(r"(python|pypy|node|bun|bash|sh|uv|conda|uvicorn|gunicorn|torchrun|accelerate)[\d.]*")


def _program(line: str, folder: str) -> str:
    """What a command line runs: its program, and a word that tells the program what to do; of an interpreter its script
    or module, and the folder it works in. What stands further on is somebody's
    data (an editor that has a file open)."""
    words = line.split()
    if not words:
        return ""
    if not INTERPRETER.fullmatch(Path(words[0]).name):
        return " ".join([words[0], *[word for word in words[1:2] if word.isalpha()]])
    rest = words[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        rest = rest[1:]
    script = rest[1:2] if rest[:1] in (["-m"], ["run"]) else rest[:1]
    return " ".join([*script, folder])


def _folder(root: Path, pid: int) -> str:
    """Where a process works, which only its own user and root may see."""
    try:
        return str((root / f"proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _own_tree() -> set[int]:
    """This process and those above it: their command lines name what they were asked to do."""
    return set(processes.ancestry(os.getpid()))


def _containers(home: Path) -> list[str]:
    """Containers that were given a GPU, the project's own aside."""
    import requests
    from docker.errors import DockerException

    from actors.environments import EngineMissing
    from actors.environments.docker import daemon

    try:
        running = daemon.connect(home).containers.list()
    except (EngineMissing, DockerException, requests.RequestException):
        return []
    return [
        f"container {one.name} of {(one.attrs.get('Config') or {}).get('Image', 'an unknown image')}"
        for one in running
        if has_gpu(one.attrs.get("HostConfig") or {}) and not any(label.startswith("campaign.") for label in one.labels)
    ]


def has_gpu(host_config: dict[str, Any]) -> bool:
    """Whether a container was started with a GPU, by any of the ways that there are."""
    requests = host_config.get("DeviceRequests") or []
    by_request = any(
        "gpu" in [name for group in one.get("Capabilities") or [] for name in group]
        or one.get("Driver") in ("nvidia", "cdi")
        for one in requests
    )
    by_node = any("/dev/nvidia" in str(one.get("PathOnHost")) for one in host_config.get("Devices") or [])
    return by_request or by_node or host_config.get("Runtime") == "nvidia"


def campaigns(asked: Asked) -> Finding:
    """Campaigns that run now, by the lock that their driver holds for as long as it lives."""
    running = [folder.parent.name for folder in sorted(asked.results.glob("*/.driver.lock")) if _held(folder)]
    if running:
        return (
            "warn",
            f"{', '.join(running)} runs now in {asked.results}",
            "Wait for it, or end it with Ctrl-C: one at a time on a GPU.",
        )
    return "ok", "none runs now", ""


def _held(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
