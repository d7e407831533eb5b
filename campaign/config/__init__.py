"""What is asked: campaign files, read and validated.

``config.load(path)`` gives the :class:`Campaign` in a file, or raises :class:`ConfigError` with everything that is
wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from campaign.config.loading import load
    from campaign.config.schema import Campaign
    from campaign.config.yaml_nodes import ConfigError

__all__ = ["Campaign", "ConfigError", "load"]


def __getattr__(name: str) -> Any:
    """Read when first asked for: validation takes a third of a second to import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from campaign.config import loading, schema, yaml_nodes

    return getattr({"ConfigError": yaml_nodes, "Campaign": schema}.get(name, loading), name)
