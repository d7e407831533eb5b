"""Which arm the others are compared with. Where names do not make it plain it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from campaign.reading.errors import TableError, listed, nearest


def reference_arm(environments: Sequence[str], asked: str | None) -> str:
    """The one asked for, else the one called native (in any case), else the only one whose name begins with it."""
    if asked is not None:
        name = asked.strip()
        if name not in environments:
            raise TableError(
                f"column 'environment' holds no {asked!r}; choose the reference among {listed(environments)}. "
                f"{nearest(name, environments)}"
            )
        return name
    called = [name for name in environments if name.casefold() == "native"]
    if len(called) == 1:
        return called[0]
    found = [name for name in environments if name.casefold().startswith("native")]
    if len(found) == 1:
        return found[0]
    what = f"several arms begin with native ({listed(found)})" if found else "no arm is called native or begins with it"
    raise TableError(f"column 'environment': {what}; name the reference with --reference, among {listed(environments)}")
