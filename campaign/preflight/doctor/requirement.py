"""What an image asks of the driver (``NVIDIA_REQUIRE_CUDA``, ``CUDA_VERSION``) against the driver that is here, as the
NVIDIA container toolkit decides it: alternatives between spaces, conditions between commas."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne

from campaign.preflight.doctor.finding import Finding

Version = tuple[int, ...]
OPERATORS: dict[str, Callable[[Version, Version], bool]] = {">=": ge, "<=": le, "!=": ne, "=": eq, ">": gt, "<": lt}
CONDITION = re.compile(r"(\w+)\s*(>=|<=|!=|=|>|<)\s*(\S+)")
LABELS = ("com.nvidia.cuda.version", "com.nvidia.volumes.needed.cuda")


@dataclass(frozen=True)
class Host:
    """Of the driver: the newest CUDA it knows (``13.0``), its own version, the GPU's compute capability.
    None where unknown."""

    cuda: str | None
    driver: str | None = None
    arch: str | None = None
    brand: str | None = None


def cuda_version(number: int | None) -> str | None:
    """``13.0`` for NVML's 13000."""
    return None if not number else f"{number // 1000}.{number % 1000 // 10}"


def version(text: str) -> Version:
    """Numbers of a version, without zeros at its end: 13 is 13.0. Empty where there are none."""
    numbers = [int(part) for part in re.findall(r"\d+", re.split("[-+]", text, maxsplit=1)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def met(expression: str, host: Host) -> bool | None:
    """Whether the driver meets the expression; None where it turns on something that is not known here."""
    answers = [
        _all([_one(condition, host) for condition in group.split(",") if condition]) for group in expression.split()
    ]
    return True if True in answers else None if None in answers or not answers else False


def _all(answers: list[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def _one(condition: str, host: Host) -> bool | None:
    parts = CONDITION.fullmatch(condition)
    if parts is None:
        return None
    name, operator, asked = parts.groups()
    known = {"cuda": host.cuda, "driver": host.driver, "arch": host.arch, "brand": host.brand}.get(name)
    if known is None:
        return None
    if name == "brand":
        return (known.lower() == asked.lower()) == (operator == "=")
    return OPERATORS[operator](version(known), version(asked))


def judge(variables: Mapping[str, str], labels: Mapping[str, str], host: Host) -> Finding:
    """What doctor says of an image with these variables and labels."""
    built = variables.get("CUDA_VERSION") or next((labels[name] for name in LABELS if labels.get(name)), "")
    asked = [value for name, value in variables.items() if name.startswith("NVIDIA_REQUIRE_")]
    if not built and not asked:
        return "ok", "the image names no CUDA", ""
    image = f"the image is built for CUDA {built}" if built else f"the image asks for {'; '.join(asked)}"
    if host.cuda is None:
        return "ok", f"{image}; no driver here to compare with", ""
    found = f"{image}, the driver{f' {host.driver}' if host.driver else ''} knows CUDA up to {host.cuda}"
    off = variables.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ("1", "true", "yes", "on")
    ours, theirs = version(host.cuda), version(built)
    remedy = (
        f"Update the NVIDIA driver to one that knows CUDA {built or 'as asked'}, "
        f"or take an image for CUDA {host.cuda} or earlier."
    )
    refused = [one for one in asked if met(one, host) is False]
    if refused and not off:
        return "fail", f"{found}; it asks for {'; '.join(refused)}, so the toolkit refuses the container", remedy
    if theirs and theirs[:1] > ours[:1]:
        return "fail", f"{found}: another major version", remedy
    if theirs and theirs[:2] > (*ours, 0)[:2]:
        arms = (
            "The toolkit puts the image's own libcuda in front of the driver's in Docker alone (enable-cuda-compat), "
            "so the arms would differ, and kernels that are compiled at run time may fail."
        )
        return "warn", found, f"{arms} {remedy}"
    return "ok", found, ""
