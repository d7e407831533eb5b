"""Makes the fixtures of ``given_arms`` known here."""

from given_arms import built, entered, labels, logs, owned

__all__ = ["built", "entered", "labels", "logs", "owned"]
