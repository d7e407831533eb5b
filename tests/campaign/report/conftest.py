"""The campaign that tables, their forms, the methods and the article are made of: two models in two arms,
twelve times."""

from pathlib import Path

import pytest

from campaign.analysis import cache as evidence
from campaign.report import page
from tests import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("campaign") / "two", repetitions=12)


@pytest.fixture(scope="module")
def con(results):
    return evidence.connect(results)


@pytest.fixture(scope="session")
def page_home(tmp_path_factory) -> Path:
    """The bundled JavaScript is kept once for all tests that write a page."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def page_path(page_home, tmp_path_factory) -> Path:
    """The page of a finished campaign of two models in two arms, one of them slower."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMPAIGN_HOME", str(page_home))
        return page.write(synthetic.write(tmp_path_factory.mktemp("page"), effects_pct={"docker-baseline": -4.0}))
