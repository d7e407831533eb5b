"""Looks at a campaign before its end: what may be decided at them, who stops,
and what is said afterwards (``docs/statistics.md``).

``spending``, ``boundaries`` and ``exact_t`` say how far a statistic must lie; ``look`` makes the statistics of one
look, ``conduct`` decides on them, ``concluded`` reports, ``stopped_mean`` allows for the stop; ``ahead`` is for
whoever plans. What whoever looks in between may see is in ``statistics.interim``.
"""
