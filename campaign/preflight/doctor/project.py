"""The project itself: interpreter, packages, engine, and the cluster it starts."""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
import tomllib
from importlib import metadata

from campaign.preflight.doctor.finding import ROOT, Asked, Finding


def python(_: Asked) -> Finding:
    version = platform.python_version()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return "fail", version, "Use CPython 3.11 to 3.13: `make setup` picks one."
    return "ok", f"{platform.python_implementation()} {version} on {platform.machine()}", ""


MODULES = {
    "nvidia-ml-py": "pynvml",
    "pyyaml": "yaml",
    "vl-convert-python": "vl_convert",
}
"""Of distributions whose module has another name."""


def packages(_: Asked) -> Finding:
    from packaging.requirements import Requirement

    stated = [Requirement(line) for line in metadata.requires("campaign") or ()]
    needed = [it.name.lower() for it in stated if it.marker is None or it.marker.evaluate({"extra": ""})]
    broken, versions = [], {}
    for name in needed:
        try:
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
            versions[name] = metadata.version(name)
        except Exception as error:  # a wheel for another processor raises what it likes
            broken.append(f"{name}: {error}")
    if broken:
        return "fail", "; ".join(broken), "Run `make setup`."
    locked = _locked()
    other = [
        f"{name} {found}, locked {locked[name]}" for name, found in versions.items() if locked.get(name, found) != found
    ]
    if other:
        return "warn", "; ".join(other), "Run `make setup` to get the locked versions."
    words = ", ".join(f"{name} {versions[name]}" for name in ("ray", "docker", "duckdb", "pyarrow") if name in versions)
    return "ok", f"{len(versions)} as locked, {words}", ""


def _locked() -> dict[str, str]:
    """Version by package, of the versions that ``uv.lock`` has for this Python on this system."""
    from packaging.markers import Marker

    try:
        packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    except (OSError, ValueError, KeyError):
        return {}
    return {
        package["name"]: package["version"]
        for package in packages
        if "version" in package
        and (
            "resolution-markers" not in package
            or any(Marker(marker).evaluate() for marker in package["resolution-markers"])
        )
    }


def engine(asked: Asked) -> Finding:
    from actors.engines.registry import engines

    if asked.campaign is None:
        return "ok", ", ".join(sorted(engines())), ""
    name = asked.campaign.engine
    if name not in engines():
        return "fail", f"{name} is not there", f"Engines here are {', '.join(sorted(engines()))}."
    return "ok", name, ""


RAY = "from campaign import cluster; cluster.start(None); print(len(cluster.units())); cluster.stop()"


def ray(_: Asked) -> Finding:
    """In a process of its own, as Ray leaves threads and settings behind."""
    tried = subprocess.run(
        [sys.executable, "-c", RAY], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    if tried.returncode != 0:
        last = (tried.stderr.strip().splitlines() or [f"ended with {tried.returncode}"])[-1]
        return "fail", last[-300:], "Ports on 127.0.0.1 and /dev/shm must be usable; see the message."
    units = tried.stdout.strip()
    if units != "1":
        return "fail", f"{units or 'no'} units came up instead of one", "Run `campaign reap`, then ask again."
    return "ok", "starts on the loopback with one unit", ""
