"""Which campaign ``make campaign`` carries out where none is named, and why. The answer is the first line printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actors import host
from actors.sensors.nvml import Trouble, gpus, is_gb10, load

SPARK = Path("campaigns/spark.yaml")
LOCAL = Path("campaigns/local.yaml")


@dataclass(frozen=True)
class Choice:
    config: Path
    because: str
    """Goes into campaign.json as ``chosen_because``."""

    def __str__(self) -> str:
        return f"campaign: {self.config}, because {self.because}"


def choose(named: str | None = None) -> Choice:
    """The config named by the user, else the Spark's on a GB10, else the local one."""
    if named:
        return Choice(Path(named), "it was named")
    because, is_spark = _hardware()
    config = SPARK if is_spark else LOCAL
    return Choice(_shown(host.shipped("configs") / config), f"{because}; CONFIG=… names another")


def _hardware() -> tuple[str, bool]:
    """What was found, in words, and whether it is a DGX Spark's GB10 (its NVML name is ``NVIDIA GB10``)."""
    loaded = load()
    if isinstance(loaded, Trouble):
        if loaded.name == "NO_DEVICE":
            return "this machine has no NVIDIA GPU", False
        return f"its NVIDIA driver does not answer ({loaded.words}: `campaign doctor` says what to do)", False
    names = [gpu.name for gpu in gpus(loaded)]
    if spark := next((name for name in names if is_gb10(name)), None):
        return f"this machine has an {spark}", True
    return f"its GPU is {names[0]}, not a GB10" if names else "the NVIDIA driver shows no GPU", False


def _shown(path: Path) -> Path:
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path
