"""A study whose phases are carried out by writing invented figures: what is tested is how phases are decided,
recorded and resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import synthetic

from campaign.record.store import Store
from campaign.study.conduct import Conductor
from campaign.study.config import Study
from campaign.study.loading import load

CONFIGS = Path(__file__).parents[3] / "configs"
TEXT = f"""\
name: little
engine: llamacpp
models: [random-llama-8m]
environments: [native-chroot, docker-baseline]
without: [gpu, ulimits.memlock]
workloads: [chat-short]
library: {CONFIGS}
shakedown: false
order: alternate
margin_pct: 2
phases:
  - {{name: 2A, phase: baseline, repetitions: 3}}
  - name: 2B
    phase: screening
    models: representative
    screen:
      design: res3_8
      blocks: 3
      factors: {{net: docker-net-host, seccomp: docker-seccomp-unconfined, init: docker-init}}
  - {{name: 2C, phase: combination, repetitions: 8}}
  - {{name: 2D, phase: validation, repetitions: 4}}
"""


@dataclass
class Invented:
    """Carries a campaign out in no time: throughputs differ by the percent that an arm's options are said to bring."""

    gains_pct: Mapping[str, float]
    """Option (network, seccomp, init) to its gain; ``docker`` is what every container loses."""
    noise_pct: float = 0.3
    done: list[str] = field(default_factory=list)
    stop_at: str | None = None
    """Name of the campaign that is interrupted half way, once."""

    def __call__(self, campaign: Any, store: Store, *, only_shakedown: bool) -> int:
        assert not only_shakedown
        self.done.append(campaign.name)
        runs = next(iter(campaign.repetitions.values())) * len(campaign.models) * len(campaign.environments)
        stopped = campaign.name == self.stop_at
        self.stop_at = None if stopped else self.stop_at
        for old in ("attempts", "units", "telemetry"):
            if (place := store.root / old).exists():
                import shutil

                shutil.rmtree(place)
        synthetic.write(
            store.root,
            models=[model.name for model in campaign.models],
            environments=[arm.name for arm in campaign.environments],
            repetitions=next(iter(campaign.repetitions.values())),
            effects_pct={arm.name: self._gain(arm) for arm in campaign.environments},
            noise_pct=self.noise_pct,
            rejections=False,
            telemetry_hz=0,
            gpu=False,
            shape=synthetic.Shape(requests=4, output_tokens=2, gaps=False),
            seed=len(campaign.name) + len(campaign.environments),
            done=runs // 2 if stopped else None,
        )
        info = json.loads((store.root / "campaign.json").read_text())
        info |= {"campaign": campaign.name, "config": campaign.published(), "config_hash": campaign.config_hash}
        info["campaign_id"] = campaign.name
        (store.root / "campaign.json").write_text(json.dumps(info))
        plan = pq.ParquetFile(store.plan_path).read()
        phases = pa.array([campaign.phase] * len(plan))
        pq.write_table(plan.set_column(plan.column_names.index("phase"), "phase", phases), store.plan_path)
        return 130 if stopped else 0

    def _gain(self, arm: Any) -> float:
        if arm.kind != "docker":
            return 0.0
        high = {"network": arm.network == "host", "seccomp": arm.seccomp == "unconfined", "init": arm.init}
        return self.gains_pct.get("docker", -3.0) + sum(
            self.gains_pct.get(name, 0.0) for name, on in high.items() if on
        )


def study(folder: Path, text: str = TEXT) -> Study:
    file = folder / "little.yaml"
    file.write_text(text)
    return load(file)


def conductor(made: Study, folder: Path, carry_out: Any, on_decision: Any = "go", **more: Any) -> Conductor:
    return Conductor(made, folder / "results", carry_out, on_decision, **more)
