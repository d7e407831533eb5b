"""What a simulated unit is made of: heat, power, memory, start-up. Constants as published for a DGX Spark,
or as fitted to a campaign.

Degrees are Celsius, powers those of the GPU's own rail in watts, memory in GiB, times in seconds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from campaign.config import Campaign
from campaign.errors import EXIT_CONFIG, CampaignError
from campaign.plan.forecast import CPU, SPARK, Machine, machine


class UnknownMachine(CampaignError):
    """A file of constants that cannot be used."""

    exit_code = EXIT_CONFIG


@dataclass(frozen=True)
class Heat:
    """Two lags between the GPU's power and its temperature: the die's own, and that of what carries the heat away.

    temperature = ambient + ``above_ambient_c`` + fast + slow, where d fast/dt = (``fast_c_per_w`` × power − fast) /
    ``fast_s``, slow alike.
    """

    ambient_c: float = 23.0
    daily_c: float = 1.0
    """Half of what the room moves in a day."""
    drift_c: float = 1.0
    """Half of what it moves over days."""
    above_ambient_c: float = 13.0
    """At no power at all: of the rest of the chassis."""
    fast_c_per_w: float = 0.30
    fast_s: float = 30.0
    slow_c_per_w: float = 0.25
    slow_s: float = 300.0
    throttle_c: float = 79.0
    """Above it clocks fall, and the driver counts software thermal slowdown."""
    throttled_speed: float = 0.93
    """Of the full rate, while it throttles."""


@dataclass(frozen=True)
class Power:
    idle_w: float = 4.0
    load_w: float = 16.0
    """While an engine starts."""
    single_w: float = 38.0
    """One sequence at a time."""
    batched_w: float = 50.0
    """From 16 sequences on; between them by the logarithm."""


@dataclass(frozen=True)
class Memory:
    total_gib: float = 119.70
    used_gib: float = 6.2
    """By everything but the engine."""
    outside_torch_gib: float = 7.44
    dynamic_gib: float = 1.37
    sd_gib: float = 0.5
    """Of what is in use besides, from one start to the next: not white but with a memory."""


@dataclass(frozen=True)
class Start:
    """Seconds, and their spread as a share of themselves."""

    native_s: float = 0.004
    docker_s: float = 0.25
    docker_create_s: float = 0.35
    teardown_s: float = 2.0
    docker_teardown_s: float = 0.4
    """On top of it."""
    spread: float = 0.04


@dataclass(frozen=True)
class Unit:
    """A kind of simulated unit."""

    name: str
    rates: Machine
    """Bandwidth, operations, loading: what the forecast assumes too."""
    gpu: str | None
    heat: Heat = Heat()
    power: Power = Power()
    memory: Memory = Memory()
    start: Start = Start()
    canary_gb_s: float = 225.0
    fitted_to: str = ""
    """The campaign whose telemetry the constants were fitted to; empty where they are as published."""


DGX_SPARK = Unit("DGX Spark", SPARK, "NVIDIA GB10")
"""Heat: idle at 3 to 5 W 34 to 41 °C; 57 to 61 °C after two minutes of decoding; a plateau of 68 to 71 °C at 55 to 70
W; back below 45 °C within five minutes; slowdown from 76 to 82 °C on. Decoding draws 31 to 50 W,
memory gives 216 to 236 GB/s."""
SMALL_CPU = Unit(
    "CPU of two cores",
    CPU,
    None,
    heat=replace(
        Heat(), above_ambient_c=15.0, fast_c_per_w=0.4, fast_s=5.0, slow_c_per_w=0.2, slow_s=60.0, throttle_c=95
    ),
    power=Power(idle_w=5.0, load_w=15.0, single_w=20.0, batched_w=20.0),
    memory=Memory(total_gib=16.0, used_gib=2.0, outside_torch_gib=0.05, dynamic_gib=0.02, sd_gib=0.02),
    start=Start(teardown_s=0.02),
    canary_gb_s=12.0,
)


def unit_for(campaign: Campaign) -> Unit:
    """What the campaign is taken to run on, as its forecast takes it."""
    return SMALL_CPU if machine(campaign) is CPU else DGX_SPARK


T = TypeVar("T")

PARTS = {"rates": Machine, "heat": Heat, "power": Power, "memory": Memory, "start": Start}


def to_json(unit: Unit) -> dict[str, object]:
    return asdict(unit)


def read(path: Path) -> Unit:
    """Constants that ``campaign calibrate`` wrote. Raises UnknownMachine, naming file and key."""
    try:
        said = json.loads(path.read_bytes())
    except OSError as problem:
        raise UnknownMachine(
            f"{path}: cannot be read ({problem.strerror}). Make it with `campaign calibrate RESULTS --out FILE`."
        ) from None
    except ValueError as problem:
        raise UnknownMachine(
            f"{path}: not JSON ({problem}). Make it again with `campaign calibrate RESULTS --out FILE`."
        ) from None
    if not isinstance(said, dict):
        raise UnknownMachine(f"{path}: must be a mapping. Make it again with `campaign calibrate RESULTS --out FILE`.")
    return _of(Unit, said, str(path), "")


def _of(kind: type[T], said: object, file: str, where: str) -> T:
    if not isinstance(said, dict):
        raise UnknownMachine(f"{file}: {where}: must be a mapping")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    made: dict[str, object] = {}
    for key, value in said.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise UnknownMachine(f"{file}: {place}: no such key; there are {', '.join(known)}")
        if key in PARTS:
            made[key] = _of(PARTS[key], value, file, place)
        elif isinstance(value, str) or value is None or isinstance(value, bool):
            wanted = known[key].type
            if (isinstance(value, str) and "str" not in str(wanted)) or (value is None and "None" not in str(wanted)):
                raise UnknownMachine(f"{file}: {place}: must be a number, got {value!r}")
            made[key] = value
        elif isinstance(value, int | float) and "str" not in str(known[key].type):
            if value < 0:
                raise UnknownMachine(f"{file}: {place}: must not be below 0, got {value}")
            made[key] = float(value)
        else:
            raise UnknownMachine(f"{file}: {place}: must be {known[key].type}, got {value!r}")
    try:
        return kind(**made)
    except TypeError as problem:
        raise UnknownMachine(f"{file}: {where or 'machine'}: {problem}") from None
