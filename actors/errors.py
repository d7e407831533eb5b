"""What is raised on purpose, and the exit code that goes with each cause. Every message is for the person: what is
wrong, where, what to do."""

from __future__ import annotations

from typing import Any

EXIT_INCOMPLETE, EXIT_CONFIG, EXIT_REFUSED, EXIT_ENGINE, EXIT_PAUSED = 1, 2, 3, 4, 5
EXIT_DEFECT, EXIT_INTERRUPTED = 70, 130


class CampaignError(Exception):
    """Something that cannot be done. Whoever lets it through ends with ``exit_code``."""

    exit_code = EXIT_REFUSED

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, not made anew from its message: it may have been made of something else,
        and comes from other machines."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(cls: type[CampaignError], args: tuple[Any, ...], state: dict[str, Any]) -> CampaignError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error
