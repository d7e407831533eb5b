"""The lock file can be installed wherever the project says it runs, and from nowhere but PyPI."""

from __future__ import annotations

import re
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker

PROJECT = Path(__file__).parent.parent
LOCK: dict[str, Any] = tomllib.loads((PROJECT / "uv.lock").read_text())
PACKAGES = [package for package in LOCK["package"] if "registry" in package["source"]]
OLDEST_GLIBC = (2, 35)
"""Of the systems named in the README: Ubuntu 22.04."""


def usable(wheel: str, minor: int, machine: str) -> bool:
    """Whether CPython 3.``minor`` on ``machine`` with that glibc installs a wheel of this name (PEP 425, PEP 600)."""
    pythons, abis, platforms = (part.split(".") for part in wheel.removesuffix(".whl").split("-")[-3:])
    return (
        any(fits_python(python, abi, minor) for python, abi in product(pythons, abis))
        and any(fits_platform(platform, machine) for platform in platforms)
    )  # fmt: skip


def fits_python(python: str, abi: str, minor: int) -> bool:
    if abi == "none":
        return python in ("py3", f"py3{minor}", f"cp3{minor}")
    if abi == "abi3":
        return python.startswith("cp3") and int(python.removeprefix("cp3")) <= minor
    return python == abi == f"cp3{minor}"


def fits_platform(platform: str, machine: str) -> bool:
    if platform in ("any", f"linux_{machine}"):
        return True
    if match := re.fullmatch(rf"manylinux_(\d+)_(\d+)_{machine}", platform):
        return (int(match[1]), int(match[2])) <= OLDEST_GLIBC
    return platform in (f"manylinux1_{machine}", f"manylinux2010_{machine}", f"manylinux2014_{machine}")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("minor", [11, 12, 13])
def test_every_locked_package_has_a_wheel(minor: int, machine: str) -> None:
    lacking = []
    for package in PACKAGES:
        if package["name"] not in reachable(minor):
            continue
        names = [wheel["url"].rsplit("/", 1)[-1] for wheel in package.get("wheels", [])]
        if not any(usable(name, minor, machine) for name in names) and needed(package, minor):
            lacking.append(f"{package['name']} {package['version']}: {', '.join(names) or 'no wheel at all'}")
    assert lacking == []
    assert {"ray", "docker", "xllamacpp", "pytest"} <= reachable(minor)


def holds(marker: str | None, minor: int) -> bool:
    """Whether a condition of the lock is true on Linux with CPython 3.``minor``."""
    surroundings = {"python_full_version": f"3.{minor}.0", "python_version": f"3.{minor}", "sys_platform": "linux"}
    return marker is None or Marker(marker).evaluate(surroundings | {"platform_system": "Linux", "os_name": "posix"})


def needed(package: dict[str, Any], minor: int) -> bool:
    """Whether a version that the lock has for some Pythons only is the one for this Python."""
    markers = package.get("resolution-markers")
    return markers is None or any(holds(marker, minor) for marker in markers)


def reachable(minor: int) -> set[str]:
    """Names of what the project and its tools need on Linux with this Python, directly or not."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for package in LOCK["package"]:
        by_name.setdefault(package["name"], []).append(package)
    pending, seen = ["campaign"], set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for package in by_name[name]:
            groups = [package.get("dependencies", []), *package.get("dev-dependencies", {}).values()]
            groups += package.get("optional-dependencies", {}).values()
            pending += [d["name"] for group in groups for d in group if holds(d.get("marker"), minor)]
    return seen


def test_a_wheel_for_another_python_or_machine_is_not_taken_for_usable() -> None:
    assert usable("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 11, "x86_64")
    assert usable("a-1-cp38-abi3-manylinux_2_28_aarch64.whl", 13, "aarch64")
    assert usable("a-1-py3-none-any.whl", 12, "aarch64")
    assert not usable("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", 12, "x86_64")
    assert not usable("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", 11, "aarch64")
    assert not usable("a-1-cp313-cp313t-manylinux_2_17_x86_64.whl", 13, "x86_64")
    assert not usable("a-1-cp314-abi3-manylinux_2_17_x86_64.whl", 13, "x86_64")
    assert not usable("a-1-py3-none-musllinux_1_2_x86_64.whl", 13, "x86_64")
    assert not usable("a-1-py3-none-manylinux_2_39_x86_64.whl", 13, "x86_64")


def test_the_lock_names_pypi_and_no_other_source() -> None:
    assert len(PACKAGES) > 40
    others = {str(package["source"]) for package in LOCK["package"]} - {
        "{'registry': 'https://pypi.org/simple'}",
        "{'editable': '.'}",
    }
    files = [file["url"] for package in PACKAGES for file in [*package.get("wheels", []), package.get("sdist")] if file]
    assert others == set()
    assert {url.split("/packages/")[0] for url in files} == {"https://files.pythonhosted.org"}


def test_every_locked_file_has_a_digest() -> None:
    files = [file for package in PACKAGES for file in [*package.get("wheels", []), package.get("sdist")] if file]
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]) for file in files)


def test_the_tool_that_reads_the_lock_is_pinned_by_digest() -> None:
    lines = (PROJECT / ".ci/uv.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith(("#", " "))]
    assert len(pins) == 1 and re.match(r"uv==\d+\.\d+\.\d+ ", pins[0])
    assert sum("--hash=sha256:" in line for line in lines) >= 2
