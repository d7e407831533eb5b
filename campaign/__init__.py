"""Campaign: native against containerised LLM inference, measured so that a hostile reviewer agrees.

``campaign.open("results/<campaign>")`` gives the results of a campaign as SQL, pandas and Altair, also while it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import account, host
from campaign import moved

if TYPE_CHECKING:
    from os import PathLike

    from campaign.results import Results

__all__ = ["open"]

moved.serve()
account.settle(host.home(), host.ROOT)  # through sudo, before anything writes into the person's folders


def open(folder: str | PathLike[str]) -> Results:
    """The campaign in a results folder. Raises :class:`campaign.analysis.views.ResultsError` where there is none."""
    from campaign.results import Results

    return Results(folder)
