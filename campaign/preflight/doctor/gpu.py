"""The unit's GPU: whether it answers, what holds it, whether it gets as cool and as still as the gate asks,
and as fast as it should."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from actors.engines.registry import engine as engine_of
from actors.sensors import nvml
from actors.sensors.gpus import gpus
from actors.sensors.nvml import NvmlSensor, is_gb10
from actors.sensors.system import SystemSensor, mem_total_bytes
from actors.sensors.trouble import Trouble
from campaign.config.schema import Campaign
from campaign.preflight.doctor.finding import ROOT, Asked, Finding, commands, read

WITHOUT = "or take the GPU out of every arm: `without: [gpu]`"


def sensor_of(asked: Asked) -> NvmlSensor:
    """The unit's GPU, probed: the one that was chosen, else the only one, else the first that nobody uses."""
    loaded = nvml.load(asked.root)
    uuid = asked.gpu_uuid
    if uuid is None and not isinstance(loaded, Trouble):
        usable = [one for one in gpus(loaded) if not one.divided]
        free = [one for one in usable if not one.in_use]
        uuid = (free or usable)[0].uuid if len(usable) > 1 else None
    sensor = NvmlSensor(loaded, uuid=uuid, system_memory_bytes=mem_total_bytes(asked.root))
    sensor.probe()
    return sensor


def needed(campaign: Campaign | None) -> bool:
    return campaign is not None and (
        engine_of(campaign.engine).needs_gpu or any(arm.gpu.by != "none" for arm in campaign.environments)
    )


def gpu(asked: Asked) -> Finding:
    sensor = sensor_of(asked)
    try:
        if sensor.trouble is not None:
            return _silent(sensor.trouble, asked.campaign)
        unsupported = sensor.describe()["unsupported"]
        given = [field.removeprefix("gpu_") for field in sensor.fields if field not in unsupported]
        missing = [field.removeprefix("gpu_") for field in unsupported]
        gaps = f"; not supported: {', '.join(missing)}" if missing else ""
        found = f"{sensor.gpu_name} gives {', '.join(given)}{gaps}{_others(asked, sensor.uuid)}"
        if asked.campaign is not None and (lost := _asked_in_vain(asked.campaign, unsupported)):
            return "warn", f"{lost}; {found}", "The gate works with its other conditions, and the data say so."
        return "ok", found, ""
    finally:
        sensor.close()


def _silent(trouble: Trouble, campaign: Campaign | None) -> Finding:
    """A GPU that is there and does not answer is never fine; none at all is, where nobody asks for it."""
    runs_without = campaign is not None and not engine_of(campaign.engine).needs_gpu
    if trouble.name != "NO_DEVICE":
        remedy = trouble.remedy or "Choose one: `gpus: [UUID]` in the campaign."
        if needed(campaign) and runs_without:
            remedy = f"{remedy}\nOr take the GPU out of every arm: `without: [gpu]`."
        return "fail" if needed(campaign) or trouble.name == "NOT_CHOSEN" else "warn", trouble.words, remedy
    if needed(campaign):
        way_out = (
            f", {WITHOUT}"
            if runs_without
            else f": {campaign.engine if campaign else 'the engine'} runs on nothing else"
        )
        return "fail", trouble.words, f"Install the NVIDIA driver where there is a GPU{way_out}."
    return "ok", "none; the engine runs on the CPU and the data say so", ""


def _others(asked: Asked, uuid: str | None) -> str:
    found = gpus(nvml.load(asked.root))
    if len(found) < 2:
        return ""
    why = "chosen" if asked.gpu_uuid else "the first that nobody uses: `gpus:` in the campaign chooses another"
    return f"; {uuid} of {len(found)}, {why}; here are {'; '.join(map(str, found))}"


def _asked_in_vain(campaign: Campaign, unsupported: dict[str, str]) -> str:
    gate = campaign.gate
    wanted = {
        "gpu_temperature_c": gate.ceiling_c is not None or gate.floor_c is not None,
        "gpu_power_w": gate.idle_power_w is not None,
        "gpu_process_memory_gib": gate.foreign_gpu_processes == "forbid",
    }
    lost = [f"the gate asks for {name.removeprefix('gpu_')}, which this GPU does not tell ({unsupported[name]})"
            for name, asks in wanted.items() if asks and name in unsupported]  # fmt: skip
    return "; ".join(lost)


def processes(asked: Asked) -> Finding:
    sensor = sensor_of(asked)
    try:
        sensor.now()
        pids = sensor.processes
    finally:
        sensor.close()
    if not pids:
        return "ok", "none" if pids is not None else "no GPU lists any", ""
    campaign = asked.campaign
    forbidden = campaign is None or campaign.gate.foreign_gpu_processes == "forbid"
    names = commands(asked.root)
    who = ", ".join(f"{pid} ({names[pid][0] if pid in names else 'of another namespace'})" for pid in pids)
    return "fail" if forbidden and campaign else "warn", who, "End them: the gate would wait for them."


# --- at rest -----------------------------------------------------------------------------------------------------


def temperature(asked: Asked) -> Finding:
    sensor, host = sensor_of(asked), SystemSensor(asked.root)
    try:
        host.probe()
        reading = sensor.now().get("gpu_temperature_c")
        where = "GPU" if reading is not None else "host"
        if reading is None:
            reading = host.read().get("host_temperature_c")
    finally:
        sensor.close()
        host.close()
    if not isinstance(reading, int | float):
        return "warn", "no sensor", "The gate works with its other conditions; heat cannot be ruled out as a cause."
    ceiling = asked.campaign.gate.ceiling_c if asked.campaign else None
    if ceiling is not None and reading >= ceiling:
        remedy = "Let it cool; a room that never gets below the ceiling needs a higher one."
        return "warn", f"{where} at {reading:g} °C, the ceiling is {ceiling:g} °C", remedy
    return "ok", f"{where} at {reading:g} °C", ""


GB10_IDLE_W = 6.0
"""In P8, without a context or a display, a GB10 draws 3 to 5 W; with either it stays in P0 at 10 to 13 W."""
REST_S = 1.5


def idle_power(asked: Asked) -> Finding:
    """What the gate will wait for before the first run. Read several times:
    a moment's work must not count as its rest."""
    sensor = sensor_of(asked)
    try:
        rows = [sensor.now()]
        until = time.monotonic() + (REST_S if asked.live and sensor.gpu_name else 0.0)
        while time.monotonic() < until:
            time.sleep(0.3)
            rows.append(sensor.now())
        name, pids, shown = sensor.gpu_name, sensor.processes, _displays(asked)
    finally:
        sensor.close()
    gate = asked.campaign.gate if asked.campaign else None
    asks_w = gate.idle_power_w if gate else None
    if name is None:
        return "ok", "no GPU", ""
    told = [row for row in rows if isinstance(row.get("gpu_power_w"), float)]
    if not told:
        return "ok", "the GPU does not tell its power", ""
    row = min(told, key=lambda one: float(str(one["gpu_power_w"])))
    power_w = float(str(row["gpu_power_w"]))
    found = f"{power_w:.2f} W" + _where(row)
    limit_w = asks_w if asks_w is not None else GB10_IDLE_W if is_gb10(name) else None
    if limit_w is None or power_w <= limit_w:
        return "ok", found, ""
    asks = f"the gate opens at {limit_w:g} W" if asks_w is not None else f"a GB10 at rest draws less than {limit_w:g} W"
    found = f"{found}, {asks}"
    if asks_w is not None and gate is not None:
        found += f": it would wait {gate.timeout_s:g} s before the first run, then {gate.on_timeout}"
    if pids:
        return (
            "fail" if asks_w is not None else "warn",
            f"{found}; held by processes on it",
            "See gpu processes: end them.",
        )
    return (
        "fail" if asks_w is not None else "warn",
        f"{found}; {_held_by(shown)}",
        _rest_remedy(row, power_w, asked.campaign),
    )


def _where(row: dict[str, Any]) -> str:
    state, temperature_c, busy_pct = row.get("gpu_pstate"), row.get("gpu_temperature_c"), row.get("gpu_utilization_pct")
    words = [f" in P{state}"] if state is not None else []
    words += [f" at {temperature_c:g} °C"] if temperature_c is not None else []
    words += [f", {busy_pct:g} % busy"] if busy_pct else []
    return "".join(words)


def _held_by(shown: list[str]) -> str:
    if shown:
        return f"no compute process holds it, but a display does: {', '.join(shown)}"
    return (
        "no compute process holds it: most often a display does (a monitor or a desktop session, which keeps it in "
        "P0), else a context that the driver does not list"
    )


def _rest_remedy(row: dict[str, Any], power_w: float, campaign: Campaign | None) -> str:
    lines = [
        "Without a display: `sudo systemctl isolate multi-user.target` ends the desktop now, `sudo systemctl "
        "set-default multi-user.target` keeps it away after a reboot; then log in over SSH and ask again."
    ]
    if campaign is not None:
        keys = [f"idle_power_w: {math.ceil(power_w * 1.2 + 0.5)}"]
        temperature_c, ceiling_c = row.get("gpu_temperature_c"), campaign.gate.ceiling_c
        if temperature_c is not None and ceiling_c is not None and temperature_c > ceiling_c - 5:
            keys.append(f"ceiling_c: {math.ceil(temperature_c) + 5}")
        lines.append(
            f"With it, the campaign would have to say `gate: {{{', '.join(keys)}}}`, "
            "and its runs start warmer than others'."
        )
    return "\n".join(lines)


DESKTOPS = {
    "Xorg", "Xwayland", "gnome-shell", "gdm-x-session", "gdm-wayland-ses", "kwin_x11", "kwin_wayland", "plasmashell",
    "sway", "weston",
    "Hyprland", "mutter", "cinnamon", "xfwm4", "sddm", "lightdm", "gdm3", "gdm",
}  # fmt: skip
"""Process names, cut to 15 characters as the kernel cuts them."""


def _displays(asked: Asked) -> list[str]:
    """Signs of a display: what NVML says, a monitor on a connector, a desktop's processes."""
    loaded = nvml.load(asked.root)
    found = ["active, as NVML says"] if any(one.display for one in gpus(loaded)) else []
    for status in sorted((asked.root / "sys/class/drm").glob("card*-*/status")):
        if read(status) == "connected":
            found.append(f"a monitor on {status.parent.name.partition('-')[2]}")
    names = {name for name, _ in commands(asked.root).values()}
    return [*found, *sorted(names & DESKTOPS)]


def settings(asked: Asked) -> Finding:
    """Clocks and limits that somebody set, as far as NVML tells; of a lock (``nvidia-smi -lgc``) it tells nothing."""
    sensor = sensor_of(asked)
    try:
        if sensor.gpu_name is None:
            return "ok", "no GPU", ""
        told = sensor.settings()
    finally:
        sensor.close()
    odd, remedies = [], []
    clock, usual = told["application_clock_mhz"], told["default_application_clock_mhz"]
    if clock is not None and usual is not None and clock != usual:
        odd.append(f"application clock {clock:g} MHz, by default {usual:g} MHz")
        remedies.append("`sudo nvidia-smi -rac` takes it back.")
    limit_w, usual_w = told["power_limit_w"], told["default_power_limit_w"]
    if limit_w is not None and usual_w is not None and limit_w < usual_w:
        odd.append(f"power limit {limit_w:g} W, by default {usual_w:g} W")
        remedies.append(f"`sudo nvidia-smi -pl {usual_w:g}` takes it back.")
    if told["compute_mode"] not in (None, 0):
        odd.append(f"compute mode {told['compute_mode']}, which keeps a second process out")
        remedies.append("`sudo nvidia-smi -c DEFAULT` lets the canary in beside nothing else.")
    if told["persistence_mode"] == 0:
        odd.append("persistence mode off: the driver forgets settings and starts anew with each process")
        remedies.append("`sudo systemctl enable --now nvidia-persistenced`, or `sudo nvidia-smi -pm 1`.")
    if odd:
        return "warn", "; ".join(odd), "\n".join(remedies)
    return (
        "ok",
        "clocks, limits and modes as by default, as far as NVML tells; a lock by `nvidia-smi -lgc` it does not",
        "",
    )


# --- under load --------------------------------------------------------------------------------------------------

LOAD_S = 5.0
SETTLED_S = 1.0
"""Where NVML tells no utilisation, readings count from this long after the load began."""
STUCK_MHZ, HEALTHY_MHZ = 1400.0, 2000.0
"""SM clock of a GB10 under load: 2200 to 2515 MHz in order, 500 to 850 MHz in the stuck state, at 96 % utilisation, in
P0 and without any throttling flag. Between the two lie locks, heat and a weak power supply."""
STUCK_GB_S, HEALTHY_GB_S = 120.0, 170.0
"""A GB10 in order reads 216 to 236 GB/s in a matrix-vector product. The hidden slow state, which no clock shows, is a
half to three times slower."""
STUCK_W = 26.0
"""Decoding draws 31 to 50 W on a GB10 in order; power judges only where nothing measured the speed."""

UNPLUG = (
    "A stuck low-power state, which a reboot does not cure: shut down, unplug the power supply for a minute, and "
    "plug the original 240 W supply in again."
)
Reading = tuple[float | None, float | None]
"""SM clock in MHz and power in W."""


def load(asked: Asked) -> Finding:
    """A GB10 can be stuck in a low-power state that only a load shows."""
    sensor = sensor_of(asked)
    try:
        if sensor.gpu_name is None:
            return "ok", "no GPU to put one on", ""
        if not asked.live:
            return "warn", "not tried on the description of a machine", "Run `campaign doctor` on the machine itself."
        return under_load(sensor)
    finally:
        sensor.close()


def under_load(sensor: NvmlSensor) -> Finding:
    """Multiplies matrix and vector on the GPU for a few seconds and reads clock and power meanwhile."""
    from actors.canary import probe as canary

    seen: list[Reading] = []
    hidden = "gpu_utilization_pct" in sensor.describe()["unsupported"]
    probe = subprocess.Popen(
        canary.command(LOAD_S, sensor.uuid), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    while probe.poll() is None and time.monotonic() < began + LOAD_S + canary.TIMEOUT_S:
        time.sleep(0.2)
        row: dict[str, Any] = sensor.now()
        busy = row.get("gpu_utilization_pct")
        if (busy is not None and busy > 50) or (hidden and time.monotonic() > began + SETTLED_S):
            seen.append((row.get("gpu_sm_clock_mhz"), row.get("gpu_power_w")))
    probe.kill()
    rate, why = canary.answer(*probe.communicate(), probe.returncode)
    if rate is None:
        return "warn", f"the load did not run: {why}", "Mend what the message names, then ask again."
    return low_power(seen, sensor.gpu_name or "", rate)


def low_power(seen: Sequence[Reading], gpu: str = "GB10", rate_gb_s: float | None = None) -> Finding:
    """Judges what was read under load, and the bytes that it moved per second:
    only a GB10's are known well enough to judge."""
    clocks = [mhz for mhz, _ in seen if mhz is not None]
    powers = [watts for _, watts in seen if watts is not None]
    mhz, watts = median(clocks) if clocks else None, median(powers) if powers else None
    words = [f"{mhz:.0f} MHz"] if mhz is not None else []
    words += [f"{watts:.1f} W"] if watts is not None else []
    found = f"{' and '.join(words)} under load" if words else "the load showed in no reading of clock or power"
    if rate_gb_s is not None:
        found += f", matrix times vector at {rate_gb_s:.0f} GB/s"
    if not is_gb10(gpu):
        if words or rate_gb_s is not None:
            return "ok", found, ""
        return "warn", found, _unseen(gpu)
    if mhz is not None and mhz < STUCK_MHZ:
        return "fail", f"{found}; a GB10 in order holds 2200 MHz or more", UNPLUG
    if rate_gb_s is not None and rate_gb_s < STUCK_GB_S:
        slow = f"{found}; a GB10 in order moves 216 GB/s or more"
        return "fail", slow, f"A slow state that its clock does not show: reboot. Where that does not help: {UNPLUG}"
    if rate_gb_s is None and watts is not None and watts < STUCK_W:
        return "fail", f"{found}; decoding draws 31 W or more on a GB10 in order", UNPLUG
    if mhz is not None and mhz < HEALTHY_MHZ:
        remedy = (
            "Look for a lock (`sudo nvidia-smi -rgc` takes it back), for heat (below 76 °C it does not slow down), "
            "and for the original 240 W power supply."
        )
        return "warn", f"{found}; a GB10 in order holds 2200 MHz or more", remedy
    if rate_gb_s is not None and rate_gb_s < HEALTHY_GB_S:
        remedy = "Something else uses the memory, or the machine is in a slow state: end what runs, reboot, ask again."
        return "warn", f"{found}; a GB10 in order moves 216 GB/s or more", remedy
    if not words and rate_gb_s is None:
        return "warn", found, _unseen(gpu)
    return "ok", found, ""


def _unseen(gpu: str) -> str:
    if "MIG" in gpu:  # part of an instance's own name
        return "With MIG on, NVML tells no utilisation: judge by the canary's GB/s."
    return "Ask again; a virtual GPU and one that MIG divides tell no utilisation, and show the canary's GB/s alone."
