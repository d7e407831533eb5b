"""Every random stream is named by what it computes, so no result depends on job order or on which others ran."""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(campaign_seed: int, *names: str) -> int:
    """First eight bytes, big-endian, of the SHA-256 of seed and names joined by ``|``.

    The names are model, metric, contrast, statistic and analysis set, in this order.
    """
    name = "|".join((str(campaign_seed), *names))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def generator(seed: int) -> np.random.Generator:
    """The one kind of generator used throughout."""
    return np.random.Generator(np.random.PCG64(seed))
