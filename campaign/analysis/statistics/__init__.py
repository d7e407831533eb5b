"""The statistics of a campaign: a run table in, every test, interval, verdict and claim out.

``analyze.analyze_runs`` is the way in; each other module holds one idea. The run is the experimental unit throughout.
"""

from campaign.analysis.statistics.analyze import analyze_file, analyze_requests, analyze_runs
from campaign.analysis.statistics.power import plan_runs, power_table
from campaign.analysis.statistics.table import TableError

__all__ = ["TableError", "analyze_file", "analyze_requests", "analyze_runs", "plan_runs", "power_table"]
