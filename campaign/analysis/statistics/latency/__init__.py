"""Latency percentiles from requests: within a run, pooled over an arm, and across runs; three quantities,
never one name.

The run is the experimental unit: requests of a run resemble each other, so intervals resample runs (or blocks), not
requests.
"""
