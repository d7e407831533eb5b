"""How figures are put into words for print. What is claimed is made elsewhere, once
(``campaign.analysis.statistics.claims``); here it is read from the rows of ``comparisons``, and summed up over models
and arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from campaign.analysis import metrics
from campaign.analysis.margin import in_words
from campaign.analysis.numbers import effect_places, level_text, number, places_of, present, range_text
from campaign.analysis.statistics.claims import DIFFERENT, NO_VERDICT, OPEN
from campaign.analysis.words import verdict_word, worse

Row = dict[str, Any]
"""One row of ``evidence.rows``."""


FAMILIES = {
    "F_doc": "confirmatory",
    "F_primary5": "primary",
    "F_secondary": "secondary",
    "F_three_arm": "three arms",
    "F_seq": "sequential",
}
"""Families of comparisons, as a reader calls them. Confirmatory: throughput, mean latency, peak memory; primary: these,
request throughput and KV cache."""


def by_contrast(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each cell and pair of arms together, cells in the order given;
    of a cell those against its first arm first."""
    first: dict[tuple[Any, ...], dict[Any, list[Row]]] = {}
    for row in rows:
        cell = first.setdefault(tuple(row.get(name) for name in ("phase", "model", "workload")), {})
        cell.setdefault((row["reference"], row["treatment"]), []).append(row)
    found = []
    for cell in first.values():
        references = list(dict.fromkeys(reference for reference, _ in cell))
        treatments = {treatment for _, treatment in cell}
        references.sort(key=lambda reference: reference in treatments)
        found += [group for name in references for (reference, _), group in cell.items() if reference == name]
    return found


def mean_sd(mean: Any, sd: Any) -> str:
    """``33.30 ± 0.13``: to the second significant digit of the standard deviation."""
    if not present(mean):
        return "–"
    if not present(sd) or sd <= 1e-12 * max(1.0, abs(mean)):
        return number(mean)
    places = min(6, places_of(sd))
    return f"{mean:,.{places}f} ± {sd:,.{places}f}".replace(",", "\u202f")


def readable(row: Row) -> Row:
    """The row in MiB, where its arms hold less than a tenth of a GiB."""
    means = [row[f"mean_{arm}"] for arm in ("reference", "treatment") if present(row[f"mean_{arm}"])]
    if row["unit_of_measure"] != "GiB" or not means or max(means) >= 0.1:
        return row
    names = [f"{what}_{arm}" for what in ("mean", "sd") for arm in ("reference", "treatment")]
    return row | {name: row[name] * 1024 for name in names if present(row[name])} | {"unit_of_measure": "MiB"}


def bounded(row: Row) -> bool:
    """Whether the interval that decided has both limits; with few runs one or both may not exist (Fieller)."""
    return present(row["pct_low"]) and present(row["pct_high"])


def interval(row: Row) -> str:
    """The interval that decided, in percent: two significant digits of its width, and the sign of each limit."""
    if row["scale"] == "difference":
        low, high = row["difference_low"], row["difference_high"]
        return range_text(low, high, row["unit_of_measure"] or "") if present(low) and present(high) else "–"
    low, high = (value if present(value) else None for value in (row["pct_low"], row["pct_high"]))
    return "–" if low is None and high is None else range_text(low, high, "%")


def level(row: Row) -> str:
    """Confidence level of :func:`interval` in percent; a dash without one."""
    found = row["difference_level"] if row["scale"] == "difference" else row["pct_level"]
    return level_text(found) if present(found) and interval(row) != "–" else "–"


def brackets(row: Row) -> str:
    """The interval that decided as ``[−2.2, −0.9]``, or ``[above 49]`` with one limit, percent."""
    if not (present(row["pct_low"]) or present(row["pct_high"])):
        return "–"
    return f"[{interval(row).removesuffix(' %').replace(' to ', ', ')}]"


def change(row: Row) -> str:
    """The change in percent, to the precision of its interval (two digits without one)."""
    value = row["pct"]
    if not present(value):
        return "–"
    places = effect_places(value, row["pct_low"], row["pct_high"])
    sign = "+" if round(value, places) else ""
    return f"{round(value, places) or 0.0:{sign}.{places}f} %".replace("-", "−") if value else "0 %"


def claim(row: Row) -> str:
    """What may be said of one comparison, as a sentence."""
    return str(row["claim"])


def headline(rows: Sequence[Row]) -> str:
    """The verdict on the whole campaign: a sentence about throughput for each arm that others are compared with,
    phase by phase.

    What two arms of one definition show (A/A) comes first: it says what to think of the rest. Options of a screen are
    not in it: their estimates are biased upwards by the choice and are never the result.
    """
    first = between_twins(rows)
    rows = [row for row in rows if not row.get("twins")]
    contrasts = _throughput(rows)
    if not contrasts:
        if first:
            return " ".join(first)
        if any(row["metric"] == metrics.headline() and row["kind"] == "screen" for row in rows):
            return (
                "Screening only: estimates are biased upwards by the choice among options, "
                "and nothing is claimed from them."
            )
        return "Nothing can be claimed yet: no accepted run has a throughput in two arms."
    said = first
    for phase, reference in dict.fromkeys((phase, reference) for phase, reference, _ in contrasts):
        mine = {arm: its for (of, against, arm), its in contrasts.items() if (of, against) == (phase, reference)}
        sentence = _summed_up(reference, mine) if len(mine) > 1 else _sentence(*mine.values())
        several = len({phase for phase, _, _ in contrasts}) > 1
        said.append(f"{phase}: {sentence}" if several else sentence)
    return " ".join(said)


def between_twins(rows: Sequence[Row]) -> list[str]:
    """A sentence for each comparison of arms of one definition (A/A)."""
    return [_between_twins(row) for row in rows if row["metric"] == metrics.headline() and row.get("twins")]


def _between_twins(row: Row) -> str:
    """What the comparison of two arms that are defined alike says of the comparisons that are not."""
    named = f"A/A on {row['model']}, {row['treatment']} against {row['reference']}, two arms of one definition"
    seen = f"{change(row)} ({interval(row)} at {level(row)} %)"
    if row["verdict"] in DIFFERENT:
        return f"{named}: they differ by {seen}, which casts doubt on every difference of that size here."
    if row["verdict"] == "equivalent":
        return f"{named}: equivalent within {_margin(row)}, as they should be."
    if row["verdict"] == "inconclusive":
        return (
            f"{named}: nothing is shown between them, {seen}; "
            "smaller differences than that interval's cannot be told here."
        )
    return f"{named}: no verdict ({verdict_word(row)})."


NOT_YET = "not decided"


def _summed_up(reference: str, by_treatment: dict[str, list[Row]]) -> str:
    kinds: dict[str, list[str]] = {}
    for treatment, mine in by_treatment.items():
        if all(_silent(row) for row in mine):
            kinds.setdefault("nothing is claimed", []).append(treatment)
            continue
        found = {way for row in mine if (way := _way(row)) is not None}
        scope = "on every model" if all(_way(row) is not None for row in mine) else "on some models"
        kind = _alike_kind(mine) if not found else {True: "lower ", False: "higher "}[found.pop()] + scope
        kinds.setdefault("lower on some models, higher on others" if found else kind, []).append(treatment)
    last = (NOT_YET, "cannot be told at this N", "nothing is claimed")
    order = sorted(kinds, key=lambda kind: (kind in last, kind.startswith("higher")))
    parts = "; ".join(f"{kind} under {_listed(kinds[kind])}" for kind in order)
    return f"Throughput against {reference}: {parts}."


def _throughput(rows: Sequence[Row]) -> dict[tuple[Any, str, str], list[Row]]:
    """Phase, reference and treatment to their comparisons of throughput, over all models; without what only screens.

    The overhead that was measured beside a screen stands only where no other phase measured it.
    """
    found: dict[tuple[Any, str, str], list[Row]] = {}
    for group in by_contrast([row for row in rows if row["metric"] == metrics.headline() and row["kind"] != "screen"]):
        found.setdefault((group[0].get("phase"), group[0]["reference"], group[0]["treatment"]), []).extend(group)
    confirmed = {key[1:] for key, group in found.items() if any(row["kind"] != "screen_base" for row in group)}
    return {
        key: group
        for key, group in found.items()
        if key[1:] not in confirmed or any(row["kind"] != "screen_base" for row in group)
    }


def _silent(row: Row) -> bool:
    return row["verdict"] == "not_interpretable" or str(row["verdict"]).startswith("error")


def _way(row: Row) -> bool | None:
    """:func:`worse`, without the differences that lie inside the margin."""
    return None if row["verdict"] == "different_but_negligible" else worse(row)


def _alike(row: Row) -> bool:
    return row["verdict"] in ("equivalent", "different_but_negligible")


def _margin(row: Row) -> str:
    return in_words(row["margin_pct"], row["margin_declared"])


def _alike_kind(rows: Sequence[Row]) -> str:
    if all(row["verdict"] in OPEN for row in rows):
        return NOT_YET
    if all(_alike(row) for row in rows):
        return f"equivalent within {_margin(rows[0])} on every model"
    if count := sum(map(_alike, rows)):
        return f"equivalent within {_margin(rows[0])} on {count} of {len(rows)} models (the others cannot be told)"
    return "cannot be told at this N"


def sentences(rows: Sequence[Row]) -> list[str]:
    """One sentence for each pair of arms about its throughput, but for arms of one definition."""
    rows = [row for row in rows if not row.get("twins")]
    return [_sentence(mine) for mine in _throughput(rows).values()]


def _sentence(mine: Sequence[Row]) -> str:
    treatment, against = mine[0]["treatment"], mine[0]["reference"]
    lower = [row for row in mine if _way(row) is True]
    higher = [row for row in mine if _way(row) is False]
    alike = [row for row in mine if _alike(row)]
    not_yet = sum(row["verdict"] in OPEN for row in mine)
    rest = len(mine) - len(lower) - len(higher) - len(alike) - not_yet
    parts = []
    if lower:
        parts.append(f"lowers throughput {_on(lower, mine)}{_by(lower, mine)}")
    if higher:
        parts.append(f"raises throughput {_on(higher, mine)}{_by(higher, mine)}")
    tail = f"; {rest} of {len(mine)} cannot be told" if rest else ""
    tail += f"; {not_yet} of {len(mine)} not decided yet" if not_yet else ""
    if (lower or higher) and max(len(lower), len(higher)) < len(mine):
        # The range of those that passed a test is biased away from zero, so all are stated.
        tail += f"; the estimates on all {len(mine)} are {_signed_range(mine)}"
    within = f"equivalent within {_margin(mine[0])} {_on(alike, mine)}" if alike else ""
    if parts:
        return f"{treatment} {' and '.join(parts)} against {against}{f'; {within}' if within else ''}{tail}."
    if within:
        return f"Throughput under {treatment} and {against} is {within}{tail}."
    if not_yet:
        seen = f"; so far {_signed_range(mine)}" if any(present(row["pct"]) for row in mine) else ""
        return (
            f"Throughput of {treatment} against {against} is not decided, because the campaign is not finished{seen}."
        )
    if all(row["verdict"] in ("insufficient_n", "missing_arm", "no_data") for row in mine):
        return f"Too few runs to compare {treatment} with {against}: nothing is claimed."
    if all(_silent(row) for row in mine):
        why = dict.fromkeys(
            str(row["reason"])
            if row["verdict"] == "not_interpretable"
            else f"{NO_VERDICT.get(row['verdict'], row['verdict'])} on {row['model']}"
            for row in mine
        )
        return f"Nothing is claimed about {treatment} against {against}: {'; '.join(why)}."
    return f"A throughput difference of {treatment} from {against} cannot be told at this N."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _on(some: Sequence[Row], all_: Sequence[Row]) -> str:
    what = "models" if len({row["workload"] for row in all_}) == 1 else "cells"
    if len(all_) == 1:
        return f"on {some[0]['model']}"
    return (
        f"on {'all' if len(some) == len(all_) else len(some)}{'' if len(some) == len(all_) else ' of'} "
        f"{len(all_)} {what}"
    )


def _by(some: Sequence[Row], all_: Sequence[Row]) -> str:
    """``, by 1.5 to 2.3 %`` where that is said of all."""
    return f", by {_range(some)}" if len(some) == len(all_) else ""


def _range(rows: Sequence[Row]) -> str:
    """``1.5 to 2.3 %``, to the precision of the least precise."""
    places = _places(rows)
    sizes = sorted(abs(row["pct"]) for row in rows)
    low, high = f"{sizes[0]:.{places}f}", f"{sizes[-1]:.{places}f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _signed_range(rows: Sequence[Row]) -> str:
    """``−2.3 to +0.4 %``."""
    known = [row for row in rows if present(row["pct"])]
    places, sizes = _places(known), sorted(row["pct"] for row in known)
    low, high = (f"{x:+.{places}f}".replace("-", "−") for x in (sizes[0], sizes[-1]))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _places(rows: Sequence[Row]) -> int:
    return max(1, min(len(change(row).removesuffix(" %").partition(".")[2]) for row in rows))
