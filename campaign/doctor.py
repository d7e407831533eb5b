"""Everything a campaign needs, checked by trying, each finding with a remedy.

A check fails when a campaign would fail, and warns when it would run but measure something that a reviewer can doubt. Nothing is
left behind, nothing is downloaded, and an image is used only if it is there already.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from actors.types import Environment, ImageIdentity

if TYPE_CHECKING:
    from rich.console import Console

    from campaign.config import Campaign

ROOT = Path(__file__).resolve().parent.parent
Status = Literal["ok", "warn", "fail"]
Finding = tuple[Status, str, str]
"""Status, what was found, what to do about it."""


@dataclass(frozen=True)
class Check:
    name: str
    status: Status
    found: str
    remedy: str = ""


def checks(
    home: Path,
    campaign: Campaign | None = None,
    results: Path = Path("results"),
    only: Collection[str] = (),
    root: Path = Path("/"),
) -> Iterator[Check]:
    """Every check, or those called ``only``, as soon as it is made. With ``campaign``, against what that campaign needs.
    ``root`` stands for the machine that the sensors read."""
    for name, check in _all(home, campaign, results, root):
        if only and name not in only:
            continue
        try:
            yield Check(name, *check())
        except Exception as error:  # a broken check is a finding, not the end of the others
            first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
            yield Check(name, "fail", f"{type(error).__name__}: {first}", "Mend this first, or report it as a defect.")


def _all(
    home: Path, campaign: Campaign | None, results: Path, root: Path
) -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "python", _python
    yield "packages", _packages
    yield "engine", lambda: _engine(campaign)
    yield "docker", lambda: _docker(home, campaign)
    yield "docker storage", lambda: _storage(home)
    for arm in _docker_arms(campaign):
        yield arm.name, lambda arm=arm: _arm(home, campaign, arm)  # type: ignore[misc]
    yield "chroot", lambda: _chroot(campaign)
    for arm in campaign.environments if campaign else ():
        if arm.kind != "docker":
            yield arm.name, lambda arm=arm: _arm(home, campaign, arm)  # type: ignore[misc]
    yield "page cache", lambda: _drop_caches(campaign)
    yield "gpu", lambda: _gpu(campaign, root)
    yield "gpu processes", lambda: _gpu_processes(campaign, root)
    yield "gpu under load", lambda: _under_load(root)
    yield "temperature", lambda: _temperature(campaign, root)
    yield "cores", lambda: _cores(root)
    yield "pressure", lambda: _pressure(root)
    yield "memory", lambda: _memory(campaign, root)
    yield "swap", lambda: _swap(root)
    yield "shared memory", _shared_memory
    yield "disk", lambda: _disk(home, campaign, results)
    yield "results folder", lambda: _results(results)
    yield "cpu frequency", lambda: _frequency(root)
    yield "load", _load
    yield "clock", _clock
    yield "updates", _updates
    yield "ray", _ray


# --- the project itself ------------------------------------------------------------------------------------------


def _python() -> Finding:
    version = platform.python_version()
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return "fail", version, "Use CPython 3.11 to 3.13: `make setup` picks one."
    return "ok", f"{platform.python_implementation()} {version} on {platform.machine()}", ""


MODULES = {
    "nvidia-ml-py": "pynvml",
    "pyyaml": "yaml",
    "vl-convert-python": "vl_convert",
}


def _packages() -> Finding:
    needed = [re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in metadata.requires("campaign") or ()]
    broken, versions = [], {}
    for name in needed:
        try:
            importlib.import_module(MODULES.get(name, name))
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
    try:
        packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    except (OSError, ValueError, KeyError):
        return {}
    return {package["name"]: package["version"] for package in packages if "version" in package}


def _engine(campaign: Campaign | None) -> Finding:
    from actors.engines.known import ENGINES

    if campaign is None:
        return "ok", ", ".join(sorted(ENGINES)), ""
    if campaign.engine not in ENGINES:
        return "fail", f"{campaign.engine} is not there", f"Engines here are {', '.join(sorted(ENGINES))}."
    return "ok", campaign.engine, ""


# --- Docker and the arms -----------------------------------------------------------------------------------------


def _needs_docker(campaign: Campaign | None) -> bool:
    """A chroot's root filesystem is exported from an image, so it needs the engine too."""
    return campaign is None or any(arm.kind != "native-host" for arm in campaign.environments)


def _docker(home: Path, campaign: Campaign | None) -> Finding:
    from actors.environments import daemon

    try:
        found = daemon.ensure(home, allow_install=False)
    except daemon.EngineMissing as error:
        if not _needs_docker(campaign):
            return "ok", "none answers; this campaign needs none", ""
        if daemon.setup_permitted():
            return "warn", "no engine answers", "`make campaign` sets up one of its own; or start Docker."
        return "fail", "no engine answers", str(error)
    info = daemon.connect(home).info()
    cgroup = f"cgroup v{info.get('CgroupVersion', 1)} ({info.get('CgroupDriver')})"
    whose = ", the project's own" if found.private else ""
    return "ok", f"{found.version} at {found.host}{whose}; {cgroup}; network {found.network}", ""


def _storage(home: Path) -> Finding:
    from actors.environments import daemon

    try:
        driver = str(daemon.connect(home).info().get("Driver"))
    except daemon.EngineMissing:
        return "ok", "no engine to ask", ""
    if driver not in ("overlay2", "overlayfs"):
        remedy = 'Use overlay2 ("storage-driver" in /etc/docker/daemon.json): others copy files and cost page cache.'
        return "warn", driver, remedy
    return "ok", driver, ""


def _docker_arms(campaign: Campaign | None) -> tuple[Environment, ...]:
    """The campaign's, or a container with the options that hosts refuse most often."""
    if campaign is not None:
        return tuple(arm for arm in campaign.environments if arm.kind == "docker")
    limits: dict[Literal["memlock", "stack", "nofile", "core"], int] = {"memlock": -1, "stack": 67108864}
    return (Environment(name="docker-options", kind="docker", ipc="host", ulimits=limits, privileged=True),)


def _arm(home: Path, campaign: Campaign | None, arm: Environment) -> Finding:
    """Starts a process that does nothing with the arm's very options."""
    from actors.environments import daemon, trial

    identity = None
    if arm.kind != "native-host":
        try:
            identity = image_here(home, campaign)
        except daemon.EngineMissing:
            return "warn", "not tried: no Docker engine", "See docker above."
        if identity is None:
            return (
                "warn",
                "not tried: its image is not here yet",
                "`campaign prepare CONFIG` makes or fetches it; then ask again.",
            )
        if arm.kind == "native-chroot" and identity.rootfs is None:
            return (
                "warn",
                "not tried: the image is not exported yet",
                "`campaign prepare CONFIG` exports it; then ask again.",
            )
    refused = trial.refused(arm, identity, home)
    if not refused:
        return "ok", f"a process starts with {_options(arm)}", ""
    split = {key: why.partition("\n") for key, why in refused.items()}
    what = "; ".join(f"{key}: {first}" for key, (first, _, _) in split.items())
    known = [rest for _, _, rest in split.values() if rest]
    # Without its GPU an engine that runs on it is no remedy.
    options = [key for key in refused if _sets(arm, key) and key != "gpu"]
    without = f"`without: [{', '.join(options)}]`" if options else ""
    if campaign is None:
        leave = f"A campaign can leave them out of every arm: {without}." if options else ""
        return "warn", f"refused here: {what}", "\n".join(dict.fromkeys([*known, *filter(None, [leave])]))
    if options:
        permit = "Or" if known else "Permit it on this host, or"
        known.append(f"{permit} take it out of every arm: {without}.")
    elif not known:
        known.append(_unknown(refused))
    return "fail", what, "\n".join(dict.fromkeys(known))


def _unknown(refused: dict[str, str]) -> str:
    if "gpu" in refused:
        return "`docker run --rm --gpus all IMAGE nvidia-smi` must work by itself first: driver, NVIDIA Container Toolkit, Docker's restart."
    if "network" in refused:
        return "Docker's default network is broken: restart the engine, or set `network: none` in the arm."
    return "Mend what the message names. By hand: docker run --rm --entrypoint sh IMAGE -c true; if that fails too, no option is to blame."


def _sets(arm: Environment, key: str) -> bool:
    option, _, inner = key.partition(".")
    if option not in type(arm).model_fields:
        return False
    return getattr(arm, option) != type(arm).model_fields[option].default and (
        not inner or option != "ulimits" or inner in arm.ulimits
    )


def _options(arm: Environment) -> str:
    plain = Environment(name="plain", kind=arm.kind)
    keys = [key for key in type(arm).model_fields if key not in ("name", "description", "kind")]
    return ", ".join(key for key in keys if getattr(arm, key) != getattr(plain, key)) or "no options"


def image_here(home: Path, campaign: Campaign | None) -> ImageIdentity | None:
    """The campaign's image where it is in the engine already, with its exported root filesystem where there is one."""
    from actors.environments import daemon, image
    from actors.environments.rootfs import manifest_file, rootfs_folder

    client = daemon.connect(home)
    reference = campaign.image.reference if campaign and campaign.image.source != "local" else None
    found = client.images.list(name=reference or "campaign-local")
    if not found:
        return None
    newest = max(found, key=lambda one: str(one.attrs.get("Created")))
    exported = rootfs_folder(newest.id, home)
    complete = exported.is_dir() and manifest_file(exported).is_file()
    identity = image.identity(newest, reference or (newest.tags or [newest.id])[0])
    return identity.model_copy(update={"rootfs": str(exported) if complete else None})


CHROOT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def must(what, result):
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
here = sys.argv[1].encode()
must("unshare", libc.unshare(0x00020000))
must("mount private", libc.mount(b"none", b"/", None, 0x44000, None))
must("bind mount", libc.mount(here, here, None, 0x1000, None))
must("mount tmpfs", libc.mount(b"none", here, b"tmpfs", 0, None))
try:
    os.chroot(here)
except OSError as error:
    sys.exit(f"chroot: {error.strerror}")
"""
"""In a mount namespace of its own (CLONE_NEWNS), with MS_REC|MS_PRIVATE and MS_BIND: nothing outside sees it."""


def _chroot(campaign: Campaign | None) -> Finding:
    with tempfile.TemporaryDirectory(prefix="campaign-doctor-") as folder:
        tried = subprocess.run(
            [sys.executable, "-I", "-c", CHROOT, folder], capture_output=True, text=True, timeout=60, check=False
        )
    if tried.returncode == 0:
        return "ok", "unshare, mount and chroot are permitted", ""
    remedy = "Run as root: sudo make campaign. (native-host needs no root, but an engine installed on this machine.)"
    needed = campaign is not None and any(arm.kind == "native-chroot" for arm in campaign.environments)
    return "fail" if needed else "warn", tried.stderr.strip()[-200:], remedy


# --- the start state ---------------------------------------------------------------------------------------------


def _drop_caches(campaign: Campaign | None) -> Finding:
    """Opened, not written: a check should not empty anybody's cache."""
    if campaign is not None and campaign.gate.cache != "drop":
        return "ok", f"cache: {campaign.gate.cache} asks for no dropping", ""
    try:
        Path("/proc/sys/vm/drop_caches").open("wb", buffering=0).close()
    except OSError as error:
        remedy = "Run as root; otherwise only the engine's own files are evicted, and the data say so."
        return "warn", f"drop_caches cannot be written: {error.strerror}", remedy
    return "ok", "the page cache can be dropped", ""


def _nvml(root: Path) -> Any:
    from actors.sensors import nvml
    from actors.sensors.system import mem_total_bytes

    return nvml.NvmlSensor(nvml.load(root), system_memory_bytes=mem_total_bytes(root))


def _gpu(campaign: Campaign | None, root: Path) -> Finding:
    needed = campaign is not None and (
        campaign.engine != "llamacpp" or any(arm.gpu.by != "none" for arm in campaign.environments)
    )
    sensor = _nvml(root)
    try:
        unsupported = sensor.probe()
        if sensor.gpu_name is None:
            if needed:
                return "fail", "no NVIDIA GPU answers", "Install the driver, or take the GPU out: `without: [gpu]`."
            return "ok", "none; the engine runs on the CPU and the data say so", ""
        given = [field.removeprefix("gpu_") for field in sensor.fields if field not in unsupported]
        missing = [field.removeprefix("gpu_") for field in unsupported]
        gaps = f"; not supported: {', '.join(missing)}" if missing else ""
        return "ok", f"{sensor.gpu_name} gives {', '.join(given)}{gaps}", ""
    finally:
        sensor.close()


def _gpu_processes(campaign: Campaign | None, root: Path) -> Finding:
    sensor = _nvml(root)
    try:
        sensor.probe()
        sensor.read()
        pids = sensor.processes
    finally:
        sensor.close()
    if not pids:
        return "ok", "none" if pids is not None else "no GPU lists any", ""
    forbidden = campaign is None or campaign.gate.foreign_gpu_processes == "forbid"
    who = ", ".join(f"{pid} ({_command(pid, root)})" for pid in pids)
    return "fail" if forbidden and campaign else "warn", who, "End them: the gate would wait for them."


def _command(pid: int, root: Path) -> str:
    return _read(root / f"proc/{pid}/comm") or "of another namespace"


LOAD_S = 5.0
HEALTHY_MHZ, HEALTHY_W = 2000.0, 40.0
"""A GB10 in order: SM clock and GPU power under load. Stuck ones were seen at 500 to 850 MHz and 20 to 30 W, at 96 %
utilisation, in P0 and without any throttling flag."""


def _under_load(root: Path) -> Finding:
    """A GB10 can be stuck in a low-power state that only a load shows."""
    sensor = _nvml(root)
    try:
        sensor.probe()
        if sensor.gpu_name is None:
            return "ok", "no GPU to put one on", ""
        if root != Path("/"):
            return "warn", "not tried on the description of a machine", "Run `campaign doctor` on the machine itself."
        return under_load(sensor)
    finally:
        sensor.close()


def under_load(sensor: Any) -> Finding:
    """Multiplies matrix and vector on the GPU for a few seconds and reads clock and power meanwhile."""
    from actors import canary

    seen: list[tuple[float, float]] = []
    probe = subprocess.Popen(
        canary.command(seconds=LOAD_S), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + LOAD_S + canary.TIMEOUT_S
    while probe.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
        row = sensor.read()
        if (row.get("gpu_utilization_pct") or 0) > 50:
            seen.append((row.get("gpu_sm_clock_mhz") or 0.0, row.get("gpu_power_w") or 0.0))
    probe.kill()
    rate, why = canary.answer(*probe.communicate(), probe.returncode)
    if rate is None:
        return "warn", f"the load did not run: {why}", "Mend what the message names, then ask again."
    status, found, remedy = low_power(seen, sensor.gpu_name)
    return status, f"{found}, matrix times vector at {rate:.0f} GB/s", remedy


def low_power(seen: list[tuple[float, float]], gpu: str = "GB10") -> Finding:
    """Judges SM clocks (MHz) and GPU powers (W) that were read under load; only a GB10's are known well enough to judge."""
    if not seen:
        return "warn", "the load never showed in the GPU's utilisation", "Ask again; the driver may need a restart."
    mhz, watts = (median(values) for values in zip(*seen, strict=True))
    found = f"{mhz:.0f} MHz and {watts:.1f} W"
    if "GB10" in gpu and (mhz < HEALTHY_MHZ or watts < HEALTHY_W):
        remedy = (
            "A stuck low-power state, which a reboot does not cure: shut down, unplug the power supply for a minute, and plug "
            "the original 240 W supply in again."
        )
        return "fail", f"{found} under load, a healthy GB10 has {HEALTHY_MHZ:g} MHz and {HEALTHY_W:g} W or more", remedy
    return "ok", f"{found} under load", ""


def _temperature(campaign: Campaign | None, root: Path) -> Finding:
    from actors.sensors.system import SystemSensor

    gpu, host = _nvml(root), SystemSensor(root)
    try:
        gpu.probe()
        host.probe()
        reading = gpu.read().get("gpu_temperature_c")
        where = "GPU" if reading is not None else "host"
        if reading is None:
            reading = host.read().get("host_temperature_c")
    finally:
        gpu.close()
        host.close()
    if not isinstance(reading, int | float):
        return "warn", "no sensor", "The gate works with its other conditions; heat cannot be ruled out as a cause."
    ceiling = campaign.gate.ceiling_c if campaign else None
    if ceiling is not None and reading >= ceiling:
        remedy = "Let it cool; a room that never gets below the ceiling needs a higher one."
        return "warn", f"{where} at {reading:g} °C, the ceiling is {ceiling:g} °C", remedy
    return "ok", f"{where} at {reading:g} °C", ""


def _cores(root: Path) -> Finding:
    from actors.environments.resolve import format_cpus
    from actors.sensors.cpu import core_kinds, topology

    kinds = core_kinds(root)
    if kinds["performance"] == kinds["efficiency"]:
        return "ok", f"{len(kinds['performance'])} alike", ""
    models = {cpu: model for model, cpus in topology(root)["models"].items() for cpu in cpus}
    words = []
    for kind, cpus in kinds.items():
        names = " and ".join(dict.fromkeys(models[cpu] for cpu in cpus if cpu in models))
        words.append(f"{kind} {format_cpus(cpus)} ({names})")
    return "ok", "; ".join(words), ""


def _pressure(root: Path) -> Finding:
    missing = [name for name in ("cpu", "memory", "io") if not (root / "proc/pressure" / name).exists()]
    if missing:
        return "warn", f"no pressure figures for {', '.join(missing)}", "Boot with psi=1; they stay NULL otherwise."
    return "ok", "cpu, memory and io", ""


def _meminfo(root: Path) -> dict[str, int]:
    """Bytes by name."""
    lines = (line.split() for line in (root / "proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}


def _memory(campaign: Campaign | None, root: Path) -> Finding:
    from campaign.forecast import size, weight_bytes

    memory = _meminfo(root)
    free, total = memory["MemAvailable"], memory["MemTotal"]
    found = f"{size(free)} of {size(total)} available"
    if campaign is not None:
        largest = max(campaign.models, key=weight_bytes)
        if weight_bytes(largest) * 1.1 > free:
            remedy = "Free memory, or choose a smaller or quantised model."
            return "fail", f"{found}, {largest.name} alone has weights of {size(weight_bytes(largest))}", remedy
    if free < 0.5 * total:
        return "warn", found, "Something else holds the rest: an engine that sizes its KV cache by it will differ."
    return "ok", found, ""


def _swap(root: Path) -> Finding:
    from campaign.forecast import size

    memory = _meminfo(root)
    used, total = memory.get("SwapTotal", 0) - memory.get("SwapFree", 0), memory.get("SwapTotal", 0)
    if used > 256 * 2**20:
        return (
            "warn",
            f"{size(used)} of {size(total)} in use",
            "`swapoff -a && swapon -a` as root: pages come back at odd times.",
        )
    return "ok", f"{size(used)} of {size(total)} in use" if total else "none", ""


def _shared_memory() -> Finding:
    from campaign.cluster import OBJECT_STORE_BYTES
    from campaign.forecast import size

    free = shutil.disk_usage("/dev/shm").free
    if free < OBJECT_STORE_BYTES:
        remedy = f"Ray's store needs {size(OBJECT_STORE_BYTES)}: in a container give --shm-size=1g; else free /dev/shm."
        return "fail", f"/dev/shm has {size(free)} free", remedy
    return "ok", f"/dev/shm has {size(free)} free", ""


# --- disk --------------------------------------------------------------------------------------------------------


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _disk(home: Path, campaign: Campaign | None, results: Path) -> Finding:
    from campaign.forecast import forecast, size
    from campaign.plan import plan

    needed = 2 * 2**30
    if campaign is not None:
        needed = forecast(campaign, plan(campaign)).disk_bytes + 2 * sum(
            model.weight_bytes or 0 for model in campaign.models
        ) + 2**30  # fmt: skip
    for what, folder in (("results", _existing(results)), ("home", _existing(home))):
        free = shutil.disk_usage(folder).free
        if free < needed:
            return "fail", f"{folder} has {size(free)} free, {what} may need {size(needed)}", "Free space, or move it."
    free = min(shutil.disk_usage(_existing(folder)).free for folder in (results, home))
    return "ok", f"{size(free)} free, {size(needed)} wanted", ""


def _results(results: Path) -> Finding:
    """Written, synced, renamed and synced again, as the store does for each attempt."""
    folder = _existing(results)
    try:
        with tempfile.TemporaryDirectory(prefix=".campaign-doctor-", dir=folder) as trial:
            replaced = _write_as_the_store_does(Path(trial))
    except OSError as error:
        return "fail", f"{folder}: {error.strerror}", "Choose another folder with --results, or mend its rights."
    if not replaced:
        return "fail", f"{folder}: a rename does not replace", "Use a local file system for the results."
    return "ok", f"{folder} takes writes, syncs and renames", ""


def _write_as_the_store_does(folder: Path) -> bool:
    first, second = folder / "a", folder / "b"
    with first.open("wb") as file:
        file.write(b"evidence")
        file.flush()
        os.fsync(file.fileno())
    second.write_bytes(b"older")
    first.replace(second)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return second.read_bytes() == b"evidence"


# --- what else this machine does ---------------------------------------------------------------------------------


def _frequency(root: Path) -> Finding:
    folders = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    governors = {_read(folder / "scaling_governor") for folder in folders} - {""}
    if not governors:
        return "ok", "this kernel shows no governor (a virtual machine, or fixed)", ""
    limits = sorted({_read(folder / "scaling_max_freq") for folder in folders} - {""})
    found = f"governor {', '.join(sorted(governors))}; limits {', '.join(f'{int(khz) // 1000} MHz' for khz in limits)}"
    if governors != {"performance"}:
        return "warn", found, "`cpupower frequency-set -g performance` as root takes the governor out of the data."
    return "ok", found, ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _load() -> Finding:
    one = os.getloadavg()[0]
    cpus = len(os.sched_getaffinity(0))
    found = f"{one:.1f} over the last minute on {cpus} CPUs"
    if one > 0.5 * cpus:
        return "warn", found, "Something else runs: end it, or every figure carries it."
    return "ok", found, ""


UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2): no source keeps this clock."""


def _clock() -> Finding:
    """Asked of the kernel, so that it does not matter who keeps the time."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    if state == UNSYNCHRONISED:
        return (
            "warn",
            "not synchronised",
            "Start systemd-timesyncd or chrony; several units are compared by their clocks.",
        )
    if state < 0:
        return "warn", f"the kernel does not tell: {os.strerror(ctypes.get_errno())}", "Check with `timedatectl`."
    return "ok", "synchronised", ""


UPDATERS = ("unattended-upgr", "apt-get", "apt", "dpkg", "dnf", "packagekitd", "snapd")


def _updates() -> Finding:
    running = sorted({_read(comm) for comm in Path("/proc").glob("[0-9]*/comm")} & set(UPDATERS))
    timers = []
    if shutil.which("systemctl"):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "dnf-automatic.timer"):
                asked = subprocess.run(
                    ["systemctl", "is-active", unit], capture_output=True, text=True, timeout=5, check=False
                )
                if asked.stdout.strip() == "active":
                    timers.append(unit)
    if found := [*running, *timers]:
        remedy = "`systemctl stop apt-daily.timer apt-daily-upgrade.timer unattended-upgrades` for the campaign's time."
        return "warn", f"active: {', '.join(found)}", remedy
    return "ok", "nothing updates this machine by itself", ""


RAY = "from campaign import cluster; cluster.start(None); print(len(cluster.units())); cluster.stop()"


def _ray() -> Finding:
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


# --- showing -----------------------------------------------------------------------------------------------------

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def show(out: Console, found: Iterable[Check]) -> int:
    """Prints each check as it is made, and how many there were. Returns how many failed. Reads the same without colour."""
    from rich.table import Table
    from rich.text import Text

    count = {"ok": 0, "warn": 0, "fail": 0}
    for check in found:
        count[check.status] += 1
        row = Table.grid(padding=(0, 2))
        row.add_column(width=4)
        row.add_column(width=22, overflow="fold")
        row.add_column(overflow="fold")
        row.add_row(Text(check.status, STYLES[check.status]), Text(check.name), Text(check.found))
        for line in check.remedy.splitlines():
            row.add_row("", "", Text(f"-> {line}", "dim"))
        out.print(row)
    out.print(
        f"\n{sum(count.values())} checks: {count['ok']} ok, {count['warn']} to think about, {count['fail']} failed"
    )
    return count["fail"]
