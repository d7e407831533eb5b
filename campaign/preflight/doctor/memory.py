"""Memory: what is free, what this process may have of it, and who kills for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from campaign.preflight.doctor import limits
from campaign.preflight.doctor.finding import Asked, Finding, commands


def _meminfo(root: Path) -> dict[str, int]:
    """Bytes by name."""
    lines = (line.split() for line in (root / "proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}


def memory(asked: Asked) -> Finding:
    from campaign.plan.forecast import size, weight_bytes

    told = _meminfo(asked.root)
    free, total = told["MemAvailable"], told["MemTotal"]
    found = f"{size(free)} of {size(total)} available"
    limit = limits.memory(asked.root)
    may = free
    if limit is not None and limit.limit_bytes < total:
        may = min(free, limit.left_bytes)
        found += (
            f", but {limit.where} limits this process to {size(limit.limit_bytes)}, of which "
            f"{size(limit.left_bytes)} are left"
        )
    outside = (
        "Run outside of that limit (a pod, a notebook, a slice with MemoryMax, `ulimit -v`): native attempts inherit "
        "it, attempts in Docker do not, and the arms would differ."
    )
    if asked.campaign is not None:
        largest = max(asked.campaign.models, key=weight_bytes)
        if weight_bytes(largest) * 1.1 > may:
            remedy = "Free memory, or choose a smaller or quantised model."
            found = f"{found}, {largest.name} alone has weights of {size(weight_bytes(largest))}"
            return "fail", found, outside if weight_bytes(largest) * 1.1 <= free else remedy
    if limit is not None and limit.limit_bytes < total:
        return "warn", found, outside
    if free < 0.5 * total:
        return "warn", found, "Something else holds the rest: an engine that sizes its KV cache by it will differ."
    return "ok", found, ""


KILLERS = {
    "earlyoom": "`sudo systemctl stop earlyoom` for the campaign's time.",
    "systemd-oomd": "`sudo systemctl stop systemd-oomd.socket systemd-oomd` for the campaign's time.",
    "nohang": "`sudo systemctl stop nohang nohang-desktop` for the campaign's time.",
    "nohang-desktop": "`sudo systemctl stop nohang nohang-desktop` for the campaign's time.",
    "oomd": "`sudo systemctl stop oomd` for the campaign's time.",
    "uresourced": "`sudo systemctl stop uresourced` for the campaign's time.",
}
"""Daemons that kill before the kernel does, by process name:
they take page cache and a model's weights for a shortage."""


def killers(asked: Asked) -> Finding:
    names = {name for name, _ in commands(asked.root).values()}
    # nohang and its like are scripts: their name is the interpreter's.
    words = {Path(word).name for _, line in commands(asked.root).values() for word in line.split()[:3]}
    found = sorted((names | words) & KILLERS.keys())
    if not found:
        return "ok", "none but the kernel's", ""
    remedies = dict.fromkeys(KILLERS[name] for name in found)
    return (
        "warn",
        f"active: {', '.join(found)}, which may end an engine while it loads a large model",
        "\n".join(remedies),
    )


def swap(asked: Asked) -> Finding:
    from campaign.plan.forecast import size

    memory = _meminfo(asked.root)
    used, total = memory.get("SwapTotal", 0) - memory.get("SwapFree", 0), memory.get("SwapTotal", 0)
    if used > 256 * 2**20:
        return (
            "warn",
            f"{size(used)} of {size(total)} in use",
            "`swapoff -a && swapon -a` as root: pages come back at odd times.",
        )
    return "ok", f"{size(used)} of {size(total)} in use" if total else "none", ""


def shared(_: Asked) -> Finding:
    from campaign.cluster import OBJECT_STORE_BYTES
    from campaign.plan.forecast import size

    free = shutil.disk_usage("/dev/shm").free
    if free < OBJECT_STORE_BYTES:
        remedy = f"Ray's store needs {size(OBJECT_STORE_BYTES)}: in a container give --shm-size=1g; else free /dev/shm."
        return "fail", f"/dev/shm has {size(free)} free", remedy
    return "ok", f"/dev/shm has {size(free)} free", ""
