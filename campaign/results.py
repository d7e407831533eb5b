"""A campaign's results for the person at a notebook: SQL in, pandas out, the report's figures by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.analysis import views as sql

if TYPE_CHECKING:
    from os import PathLike

    import altair as alt
    import pandas as pd


class Results:
    """The views of one results folder. Each view of ``sql/`` is an attribute, read anew when it is asked for::

    results = campaign.open("results/local")
    results.runs                                   # pandas.DataFrame
    results.sql("SELECT model, count(*) FROM runs GROUP BY model")
    results.analyse().comparisons                  # every test, interval, verdict and claim
    results.figure("throughput")                   # altair chart
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder).resolve()
        self.connection = sql.connect(self.folder)

    def __repr__(self) -> str:
        name, state = self.connection.execute(
            "SELECT (SELECT any_value(campaign) FROM campaign), "
            "count(*) FILTER (accepted) || ' of ' || count(*) || ' runs accepted' FROM runs"
        ).fetchall()[0]
        return f"<campaign {name}: {state}, {self.folder}>"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._names()]

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name.startswith("_") or name not in self._names():
            raise AttributeError(f"no view {name!r}; there are: {', '.join(self._names())}")
        return self.sql(f"FROM {name}")

    def analyse(self) -> Results:
        """Bring the statistics up to what the folder holds, for the views of
        ``analysis/`` such as ``comparisons``; returns itself.

        They are kept in the folder, so this takes time only where the campaign has moved on since.
        """
        from campaign.analysis import cache as evidence

        evidence.ensure(self.folder, self.connection)
        return self

    def sql(self, query: str, parameters: list[Any] | None = None) -> pd.DataFrame:
        """The rows of a DuckDB query over the views."""
        found: pd.DataFrame = self.connection.execute(query, parameters or []).df()
        return found

    @property
    def views(self) -> pd.DataFrame:
        """Every view: ``view``, what a row of it is, and the file that defines it."""
        import pandas as pd

        return pd.DataFrame([{"view": it.name, "about": it.about, "file": it.file} for it in sql.tables()])

    def figure(self, name: str) -> alt.TopLevelMixin:
        """A figure of the report by name, else of the article (``figures``). KeyError for another name.

        LookupError, with the reason, where this campaign has no data for it.
        """
        from campaign.report import figures, paper

        known = {it.name: it for it in (*paper.FIGURES, *figures.FIGURES)}
        if name not in known:
            raise KeyError(f"no figure {name!r}; there are: {', '.join(known)}")
        figure = known[name]
        chart = figure.draw(self.connection)
        if chart is None:  # for want of data, or of their analysis
            chart = figure.draw(self.analyse().connection)
        if chart is None:
            raise LookupError(f"figure {name!r}: {figure.absent}")
        return chart

    @property
    def figures(self) -> list[str]:
        """Names that :meth:`figure` takes."""
        from campaign.report import figures, paper

        return list(dict.fromkeys(it.name for it in (*figures.FIGURES, *paper.FIGURES)))

    def refresh(self) -> Results:
        """Read the folder again, while the campaign runs."""
        sql.refresh(self.connection)
        return self

    @staticmethod
    def _names() -> list[str]:
        return [it.name for it in sql.tables()]
