"""What a person injects into a rehearsal: effects of arms on metrics, noise, outliers and faults. Everything is drawn
from keys (seed, unit, run, attempt), so that the same rehearsal is the same to the bit, whatever else happens in it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from campaign.config import Campaign
from campaign.errors import EXIT_CONFIG, CampaignError


class NotInjected(CampaignError):
    """An effect or a fault that cannot be injected as asked. The message is for the person."""

    exit_code = EXIT_CONFIG


Knob = Literal[
    "rate", "prefill", "load", "create", "start", "entrypoint", "teardown", "power", "memory", "kv", "cpu", "noise"
]
"""What of a simulated attempt can be turned."""

METRICS: dict[str, tuple[Knob, int]] = {
    **dict.fromkeys(
        ("token_throughput_tok_s", "total_token_throughput_tok_s", "request_throughput_req_s"), ("rate", 1)
    ),
    **dict.fromkeys(
        (
            "latency_mean_ms",
            "latency_p50_ms",
            "latency_p95_ms",
            "latency_p99_ms",
            "itl_mean_ms",
            "itl_p50_ms",
            "itl_p95_ms",
            "itl_p99_ms",
            "tpot_mean_ms",
            "steady_s",
            "warmup_s",
        ),
        ("rate", -1),
    ),
    **dict.fromkeys(("ttft_mean_ms", "ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms", "first_token_s"), ("prefill", 1)),
    "load_s": ("load", 1),
    "create_s": ("create", 1),
    "start_s": ("start", 1),
    "entrypoint_s": ("entrypoint", 1),
    "teardown_s": ("teardown", 1),
    "power_mean_w": ("power", 1),
    "energy_j": ("power", 1),
    "peak_memory_gib": ("memory", 1),
    "peak_unified_memory_gib": ("memory", 1),
    "attempt_memory_peak_gib": ("memory", 1),
    "kv_cache_gib": ("kv", 1),
    "attempt_cpu_s": ("cpu", 1),
    "cv": ("noise", 1),
}
"""Metric to what is turned for it, and in which direction. With a fixed number of requests in flight latency and
throughput are one figure (Little's law), so either turns the rate. ``cv`` is the run-to-run spread of the arm."""


@dataclass(frozen=True)
class Effects:
    """By arm and knob the natural logarithm of the factor."""

    logs: Mapping[tuple[str, Knob], float] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    """As the person wrote them."""

    def factor(self, arm: str, knob: Knob) -> float:
        return math.exp(self.logs.get((arm, knob), 0.0))


def effects(asked: Iterable[str], campaign: Campaign) -> Effects:
    """``ARM:METRIC:PERCENT`` each; what several ask of one knob multiplies. Raises NotInjected."""
    arms = [environment.name for environment in campaign.environments]
    logs: dict[tuple[str, Knob], float] = {}
    asked = tuple(asked)
    for text in asked:
        parts = text.split(":")
        if len(parts) != 3:
            raise NotInjected(
                f"--effect {text}: write ARM:METRIC:PERCENT, as docker-baseline:token_throughput_tok_s:-3"
            )
        arm, metric, amount = parts
        if arm not in arms:
            raise NotInjected(
                f"--effect {text}: no arm of this campaign is called {arm!r}; there are {', '.join(arms)}"
            )
        if metric not in METRICS:
            raise NotInjected(f"--effect {text}: {metric!r} cannot be turned; these can: {', '.join(METRICS)}")
        try:
            percent = float(amount.removesuffix("%"))
        except ValueError:
            raise NotInjected(f"--effect {text}: {amount!r} is no number of percent") from None
        if not -90 <= percent <= 900:
            raise NotInjected(f"--effect {text}: {percent:g} % is beyond -90 to 900 %")
        knob, sign = METRICS[metric]
        logs[arm, knob] = logs.get((arm, knob), 0.0) + sign * math.log1p(percent / 100)
    return Effects(logs, asked)


# --- noise --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """Of a run's rate, as shares of itself."""

    cv: float = 0.005
    """Run-to-run, as published for throughput on GB10 (0.14 to 0.48 % within a block of runs; one report has 2.4 %)."""
    slow_share: float = 0.5
    """Of the variance, what has a memory: it passes on from one attempt of a unit to the next."""
    memory: float = 0.7
    """How much of it passes on (an autoregressive process of order 1)."""
    outliers: float = 0.01
    """Share of runs that are slower for a reason that nobody sees, by ``outlier_cv`` on average (exponential)."""
    outlier_cv: float = 5.0
    """In multiples of ``cv``."""
    requests_cv: float = 0.015
    """Of one request's time to another's."""


def generator(*keys: object) -> np.random.Generator:
    """A stream of its own for these keys, the same on every machine."""
    return np.random.default_rng([zlib.crc32(str(key).encode()) for key in keys])


# --- faults ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faults:
    """Chances: of an attempt, or a day of a unit. All are none unless asked for."""

    crash: float = 0.0
    """An attempt whose engine dies on the way."""
    hang: float = 0.0
    """An attempt whose engine stops moving, at high utilisation and low power."""
    throttle: float = 0.0
    """An attempt that meets heat from outside and throttles."""
    disk: float = 0.0
    """A day on which the unit's disk fills up."""
    lost: float = 0.0
    """A day on which the unit goes away for hours."""
    slow: float = 0.0
    """A day on which the unit falls into a slow state that no flag shows."""

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__dataclass_fields__)


USUAL = Faults(crash=0.01, hang=0.005, throttle=0.01, disk=0.05, lost=0.05, slow=0.05)
"""Where a fault is asked for without a chance of its own."""


def faults(asked: str) -> Faults:
    """``none``, ``all``, or names with a comma between, each with ``=CHANCE`` where it is not the usual one.
    Raises NotInjected."""
    found = Faults()
    for part in filter(None, (piece.strip() for piece in asked.split(","))):
        name, equals, chance = part.partition("=")
        if name == "none" and not equals:
            continue
        if name == "all" and not equals:
            found = USUAL
            continue
        if name not in Faults.__dataclass_fields__:
            known = ", ".join(Faults.__dataclass_fields__)
            raise NotInjected(f"--faults {asked}: no fault is called {name!r}; there are {known}, and all, none")
        value = getattr(USUAL, name)
        if equals:
            try:
                value = float(chance)
            except ValueError:
                raise NotInjected(f"--faults {asked}: {chance!r} is no number") from None
            most = 1.0 if name in ("crash", "hang", "throttle") else 1000.0
            if not 0 <= value <= most:
                per = "of an attempt, from 0 to 1" if most == 1.0 else "times a day, from 0 to 1000"
                raise NotInjected(f"--faults {asked}: {name} is a chance {per}; got {value:g}")
        found = replace(found, **{name: value})
    return found


Kind = Literal["disk", "lost", "slow"]


@dataclass(frozen=True)
class Episode:
    """A stretch of a unit's time, in seconds of its clock."""

    kind: Kind
    begins_s: float
    ends_s: float
    """When it ends by itself; infinite where a person must come."""


def episodes(chances: Faults, seed: int, unit: str, days: float) -> list[Episode]:
    """What befalls a unit, by the order of time; a Poisson process of each kind over ``days``."""
    found = []
    for kind in ("disk", "lost", "slow"):
        rate = getattr(chances, kind)
        rng = generator(seed, unit, kind)
        t_s = 0.0
        while rate > 0 and (t_s := t_s + rng.exponential(86_400 / rate)) < days * 86_400:
            lasts_s = {
                "disk": 180.0 if rng.random() < 0.5 else math.inf,  # somebody's log is rotated, or nobody's is
                "lost": float(rng.exponential(2 * 3600)) + 300,
                "slow": float(rng.exponential(6 * 3600))
                if rng.random() < 0.5
                else math.inf,  # until the plug is pulled
            }[kind]
            found.append(Episode(kind, t_s, t_s + lasts_s))
    return sorted(found, key=lambda episode: episode.begins_s)
