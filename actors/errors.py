"""What is raised on purpose, and the exit code that goes with each cause. Every message is for the person: what is wrong, where, what to do."""

from __future__ import annotations

EXIT_INCOMPLETE, EXIT_CONFIG, EXIT_REFUSED, EXIT_ENGINE, EXIT_PAUSED = 1, 2, 3, 4, 5
EXIT_DEFECT, EXIT_INTERRUPTED = 70, 130


class CampaignError(Exception):
    """Something that cannot be done. Whoever lets it through ends with ``exit_code``."""

    exit_code = EXIT_REFUSED
