"""A two-level screen of Docker options: effects with intervals, what they may hide, and which options are carried on.

ln y ~ block + factors by least squares; the error is that of repeated rows, which no interaction enters. Every number
of a screen chooses and none confirms: what is chosen here is tested on fresh runs.
"""

from campaign.analysis.statistics.factorial.choice import Trait, by_gain
from campaign.analysis.statistics.factorial.fit import Groups, Rows
from campaign.analysis.statistics.factorial.screened import Screened, screen

__all__ = ["Groups", "Rows", "Screened", "Trait", "by_gain", "screen"]
