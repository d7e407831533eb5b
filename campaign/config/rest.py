"""``gate.cooldown_s: calibrated``: the rest that a pilot's cooling curves showed to be enough, as ``campaign plan
--pilot`` writes it to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from actors.types import Frozen, Name
from campaign.config.yaml_nodes import ConfigError, Node, Problem, read, said

WORD = "calibrated"
MAKE = (
    "Run `campaign pilot FILE` with a rest in seconds, "
    "then `campaign plan FILE --pilot results/NAME-pilot --rest rest.json`"
)


class Back(Frozen):
    """Of the rests after one model's runs in one arm: when the last of them was back."""

    model: str
    environment: str
    rests: Annotated[int, Field(ge=1)]
    back_s: Annotated[float, Field(ge=0)]


class Cooling(Frozen):
    """A point of the mean curve after the runs of one arm. None is what the unit does not tell."""

    environment: str
    t_s: Annotated[float, Field(ge=0)]
    """Seconds since the run ended."""
    temperature_c: float
    power_w: float | None = None
    sm_clock_mhz: float | None = None


class Rest(Frozen):
    """A calibrated rest, and the curves that it rests on."""

    cooldown_s: Annotated[float, Field(ge=0)]
    """The least rest after which every start was back, after every arm alike."""
    was_s: Annotated[float, Field(ge=0)]
    """What the pilot rested at least."""
    saved_s: Annotated[float, Field(ge=0)]
    """Of a run, on average: the gate's temperature allowed for."""
    tolerance_c: Annotated[float, Field(gt=0)]
    """How far from where its rest ended a temperature counts as back, and how far the arms may lie apart."""
    apart_c: Annotated[float, Field(ge=0)]
    """How far the arms' mean temperatures lay apart after that rest, in the worst model."""
    pilot: Name
    campaign_id: str
    journal: str
    """Head of the pilot's journal."""
    gpu: str | None = None
    simulated: bool = False
    unknown: tuple[str, ...] = ()
    """Of temperature, power and clocks what the unit did not tell, so that the rest says nothing of it."""
    after: tuple[Back, ...] = Field(min_length=1)
    curve: tuple[Cooling, ...] = ()


def resolved(keys: dict[str, Node], path: Path, problems: list[Problem]) -> None:
    """Puts the seconds in the place of the word, and the calibration itself beside the gate as ``rest``."""
    if (given := keys.pop("rest", None)) is not None:
        problems.append(
            given.problem("follows from the gate", "Write `gate: {cooldown_s: calibrated, calibration: FILE}`.")
        )
    gate = keys.get("gate")
    if gate is None or not isinstance(gate.value, dict):
        return
    own = dict(gate.value)
    asked, file = own.get("cooldown_s"), own.pop("calibration", None)
    meant = asked is not None and asked.value == WORD
    if not meant and file is None:
        return
    keys["gate"] = gate.with_value(own)
    if not meant or asked is None:
        assert file is not None
        problems.append(file.problem("calibrates nothing", "Write `cooldown_s: calibrated`, or leave it out."))
        return
    del own["cooldown_s"]
    if file is None or not isinstance(file.value, str):
        what = (
            "is calibrated, and nothing says by what" if file is None else f"must be a file, got {said(file.plain())}"
        )
        problems.append((file or asked).problem(what, f"{MAKE}, and name it: `calibration: rest.json`."))
        return
    place = path.absolute().parent / file.value
    if not place.is_file():
        problems.append(file.problem(f"there is no file '{file.value}' (as seen from this one)", f"{MAKE}."))
        return
    try:
        found = read(place)
    except ConfigError as error:
        problems.extend(error.problems)
        return
    keys["rest"] = found
    seconds = found.child("cooldown_s")
    if seconds is not None:
        own["cooldown_s"] = asked.with_value(seconds.value)
        keys["gate"] = gate.with_value(own)


def contradictions(rest: Rest | None, at: Callable[..., Node], cells: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    """What is wrong with a calibration beside the rest of the campaign; ``cells`` are its models in its arms."""
    if rest is None:
        return
    known = {(its.model, its.environment) for its in rest.after}
    missing = [f"{model} in {arm}" for model, arm in cells if (model, arm) not in known]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        what = f"the pilot {rest.pilot} never rested after {', '.join(missing[:3])}{more}"
        yield at("gate").problem(what, "Calibrate by a pilot of this campaign, or write the rest in seconds.")
