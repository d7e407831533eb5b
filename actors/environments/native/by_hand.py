"""An attempt as it is recorded, with a shell line for a person who repeats it by hand."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
from pathlib import Path
from typing import Any

from actors.environments import resolve
from actors.environments.native.supervisor import inside
from actors.types import Mount


def recorded(order: dict[str, Any], environment: str, mounts: tuple[Mount, ...], notes: list[str]) -> dict[str, Any]:
    return {
        "environment": environment,
        "argv": order["argv"],
        "entrypoint": order["entrypoint"],
        "variables": order["variables"],
        "mounts": [mount.model_dump() for mount in mounts],
        "workdir": order["workdir"],
        "user": ":".join(map(str, order["user"][:2])) if order["user"] else f"{os.getuid()}:{os.getgid()}",
        "root": order["root"] or "/",
        "rlimits": {limit["name"]: [limit["soft"], limit["hard"]] for limit in order["rlimits"]},
        "cpus": resolve.format_cpus(order["cpus"]) if order["cpus"] is not None else None,
        "notes": notes,
        "shell": shell_line(order),
    }


def shell_line(order: dict[str, Any]) -> str:
    """A line for a root shell that starts the engine as this arm does (util-linux and coreutils)."""
    argv = _tool("prlimit", _differing_rlimits(order["rlimits"]))
    if order["cpus"] is not None:
        argv += _tool("taskset", ["-c", resolve.format_cpus(tuple(order["cpus"]))])
    argv += [_path("env"), "-i", *(f"{key}={value}" for key, value in order["variables"].items())]
    root, who = order["root"], order["user"]
    if root is None:
        if who is not None:
            argv += [_path("setpriv"), f"--reuid={who[0]}", f"--regid={who[1]}", "--clear-groups"]
        return f"(cd {shlex.quote(order['workdir'])} && exec {shlex.join([*argv, *order['argv']])})"
    argv += [_path("unshare"), f"--root={root}", f"--wd={order['workdir']}"]
    argv += [f"--setgid={who[1]}", f"--setuid={who[0]}", *order["entrypoint"], *order["argv"]]
    steps = ["S=$(mktemp -d)", f"mount --rbind {shlex.quote(root)} {shlex.quote(root)}"]
    for entry in order["mounts"]:
        steps += _mount_steps(root, entry)
    steps += [f"mount -o remount,bind,ro {shlex.quote(root)}", f"exec {shlex.join(argv)}"]
    return shlex.join(["unshare", "--mount", "--propagation=private", "sh", "-ec", "; ".join(steps)])


def _mount_steps(root: str, entry: dict[str, Any]) -> list[str]:
    target = shlex.quote(inside(root, entry["target"]))
    if entry["kind"] == "tmpfs":
        return [f"mkdir -p {target}", f"mount -t tmpfs -o mode=1777,size={entry['size']} tmpfs {target}"]
    source = shlex.quote(entry["source"])
    steps = []
    if "/scratch/" in entry["source"] and entry["target"] in resolve.WRITABLE:
        source = f'"$S"/{Path(entry["source"]).name}'
        steps = [f"mkdir -m 1777 {source}"]
    elif "/scratch/" in entry["source"] and Path(entry["source"]).name == "home":
        source = '"$S"/home'
        steps = [f"mkdir -p {target}", f"cp -a {target} {source}"]
    place = Path(entry["source"])
    # What a planned run will mount need not be there yet; its files have a suffix where it is mounted.
    folder = place.is_dir() if place.exists() else not Path(entry["target"]).suffix
    above = shlex.quote(str(Path(inside(root, entry["target"])).parent))
    steps += (
        [f"mkdir -p {target}"] if folder else [f"mkdir -p {above}", f"[ -e {target} ] || touch {target}"]
    )  # a new time would make the file another
    steps += [f"mount --rbind {source} {target}"]
    if entry["read_only"]:
        steps.append(f"mount -o remount,bind,ro {target}")
    return steps


def _differing_rlimits(limits: list[dict[str, Any]]) -> list[str]:
    found = []
    for limit in limits:
        number = getattr(resource, f"RLIMIT_{limit['name'].upper()}", None)
        wanted = (limit["soft"], limit["hard"])
        if number is not None and resource.getrlimit(number) != wanted:
            soft, hard = ("unlimited" if value == -1 else value for value in wanted)
            found.append(f"--{limit['name']}={soft}:{hard}")
    return found


def _tool(name: str, options: list[str]) -> list[str]:
    return [_path(name), *options] if options else []


def _path(name: str) -> str:
    return shutil.which(name) or name
