"""Makes the fixtures of ``given_arms`` known here."""

from given_arms import labels, logs, owned

__all__ = ["labels", "logs", "owned"]
