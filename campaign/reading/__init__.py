"""One reader of tables of runs: of any separator, decimal mark, encoding and container,
and of the reports of known tools.

``sources`` reads cells, ``formats`` knows tools, ``columns`` and ``units`` know names, ``table`` understands rows as
runs.
"""

from campaign.reading.asked import Asked, asked
from campaign.reading.errors import TableError
from campaign.reading.roles import Fate
from campaign.reading.table import Reading, Run, read

__all__ = ["Asked", "Fate", "Reading", "Run", "TableError", "asked", "read"]
