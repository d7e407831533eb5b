"""The statistics of a campaign: a run table in, every test, interval, verdict and claim out.

``analyze_runs``, ``analyze_requests`` and ``analyze_file`` are the ways in; each module holds one idea. The run is the
experimental unit throughout. ``scipy.stats`` and ``scipy.optimize`` are named in full, so that SciPy reads them when
they are first needed.
"""

from campaign.analysis.statistics.analyze import analyze_file
from campaign.analysis.statistics.latency.requests import analyze_requests
from campaign.analysis.statistics.planning import plan_runs
from campaign.analysis.statistics.power import power_table
from campaign.analysis.statistics.runs import analyze_runs, compare_runs
from campaign.analysis.statistics.table import TableError

__all__ = [
    "TableError",
    "analyze_file",
    "analyze_requests",
    "analyze_runs",
    "compare_runs",
    "plan_runs",
    "power_table",
]
