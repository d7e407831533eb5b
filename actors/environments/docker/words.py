"""The Docker engine's own words for what went wrong."""

from __future__ import annotations

import re

import requests

from actors.environments import EngineGone, EnvironmentError_


def explain(error: Exception) -> str:
    """The Docker engine's own words."""
    return str(getattr(error, "explanation", None) or error).strip()


GONE = re.compile(
    r"containerd[^\n]*(?:connection refused|no such file|unavailable|closing|not running|EOF)|"
    r"(?:unavailable|connection error|error reading from server)[^\n]*containerd|shim[^\n]*(?:disconnected|ttrpc: "
    r"closed)|"
    r"Cannot connect to the Docker daemon|transport is closing|ttrpc: closed",
    re.IGNORECASE,
)
"""Docker's words when the program behind it has gone."""


def gone(error: Exception) -> bool:
    """Whether the engine, or the containerd behind it, no longer answers."""
    return isinstance(error, requests.ConnectionError | requests.Timeout) or bool(GONE.search(explain(error)))


def error_of(error: Exception, text: str) -> EnvironmentError_:
    return EngineGone(text) if gone(error) else EnvironmentError_(text)
