"""The campaign that tables, their forms, the methods and the article are made of: two models in two arms, twelve times."""

import pytest

from campaign.analysis import cache as evidence
from tests import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("campaign") / "two", repetitions=12)


@pytest.fixture(scope="module")
def con(results):
    return evidence.connect(results)
