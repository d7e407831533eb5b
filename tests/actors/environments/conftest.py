"""Makes the fixtures of ``given_arms`` known here."""

from given_arms import built, cuda_image, entered, labels, logs, owned

__all__ = ["built", "cuda_image", "entered", "labels", "logs", "owned"]
