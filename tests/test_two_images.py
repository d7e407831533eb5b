"""Two images in one environment: a difference of known size is found,
and everything says that the arms do not run the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import duckdb
import pytest
from small_campaign import PROJECT, Finished, campaign

from actors.gpu.actor import GpuActor
from actors.types import Environment, Image, Workload
from benchmarks import two_images
from campaign.analysis import views as sql
from campaign.audit import verification
from campaign.config.loading import load
from campaign.plan.design import plan
from campaign.plan.preview import describe, plain
from campaign.record.store import Store

CONFIG = PROJECT / "configs" / "campaigns" / "two-images.yaml"


@pytest.fixture(scope="module")
def two(docker_engine: docker.DockerClient, session_home: Path) -> None:
    two_images.make(docker_engine, session_home)


@pytest.fixture(scope="module")
def compared(two: None, session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    results = tmp_path_factory.mktemp("two") / "results"
    done = campaign("run", CONFIG, "--results", results, home=session_home)
    return Finished(CONFIG, results / "two-images", done, session_home)


@pytest.fixture
def con(compared: Finished) -> Iterator[duckdb.DuckDBPyConnection]:
    assert compared.done.returncode == 0, compared.done.stdout
    with pytest.MonkeyPatch.context() as patch:  # the analysis is sealed by a key of the home that computed it
        patch.setenv("CAMPAIGN_HOME", str(compared.home))
        yield sql.connect(compared.folder)


def test_the_known_difference_is_found_with_its_interval(con: duckdb.DuckDBPyConnection) -> None:
    (row,) = con.execute(
        """SELECT verdict, side, paired_low, paired_high FROM comparisons
        WHERE metric = 'latency_mean_ms' AND analysis_set LIKE 'protocol%'"""
    ).fetchall()
    verdict, side, low_ms, high_ms = row
    assert (verdict, side) == ("different", "worse")
    # Who sleeps for so long is at least so late; on a busy machine the engine's threads, gone to sleep meanwhile, are
    # later still.
    assert low_ms > 0 and high_ms >= 0.9 * two_images.LATE_MS


def test_each_arm_ran_its_own_image_and_the_report_says_what_that_means(
    compared: Finished, con: duckdb.DuckDBPyConnection, docker_engine: docker.DockerClient
) -> None:
    ran = dict(con.execute("SELECT DISTINCT environment, image_digest FROM attempts").fetchall())
    here = {name: docker_engine.images.get(name).id for name in (two_images.PLAIN, two_images.LATE)}
    assert ran == {"docker-plain": here[two_images.PLAIN], "docker-late": here[two_images.LATE]}
    differs = dict(con.execute("SELECT environment, differs FROM arm_software").fetchall())
    assert differs == {"docker-plain": [], "docker-late": ["image", "engine version"]}
    page = (compared.folder / "report" / "index.html").read_text()
    assert "docker-late does not run the reference&#39;s image and engine version" in page
    assert verification.verify(Store(compared.folder)) == []


def test_plan_and_diff_say_what_the_arms_do_not_share(two: None, session_home: Path) -> None:
    loaded = load(CONFIG)
    said = " ".join(plain(describe(loaded, plan(loaded))).split())
    assert f"docker-late runs {two_images.LATE} and docker-plain runs {two_images.PLAIN}: userland, libraries" in said
    shown = campaign("diff", "docker-plain", "docker-late", "--config", CONFIG, home=session_home).stdout
    assert f"image {two_images.LATE}" in shown.replace("\n", "")
    assert f"through the entry point of {two_images.PLAIN} and of {two_images.LATE}" in " ".join(shown.split())


@pytest.mark.skipif(os.geteuid() != 0, reason="a chroot takes root")
def test_a_chroot_is_exported_of_each_image_and_options_are_prepared_apart(
    two: None, session_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMPAIGN_HOME", str(session_home))
    late = Image(source="registry", reference=two_images.LATE)
    arms = (
        Environment(name="plain", kind="native-chroot"),
        Environment(name="late", kind="native-chroot", image=late),
        Environment(name="two-threads", kind="native-chroot", engine_options={"llamacpp": {"threads": 2}}),
    )
    model = next(one for one in load(CONFIG).models if one.name == "random-llama-8m")
    workload = Workload(name="w", requests=1, input_tokens=4, output_tokens=2)
    actor = GpuActor("two-images", "c", "spool/two-images", None)
    facts = actor.prepare("llamacpp", Image(source="registry", reference=two_images.PLAIN), arms, ((model, workload),))
    assert facts.refused_options == {} and facts.unprepared == {}
    roots = {key: Path(str(identity.rootfs)) for key, identity in facts.images.items()}
    assert list(roots) == ["image", f"registry:{two_images.LATE}"] and len(set(roots.values())) == 2
    engines = {key: next(root.rglob("xllamacpp/__init__.py")).read_text() for key, root in roots.items()}
    assert [two_images.PATCH in text for text in engines.values()] == [False, True]
    assert [one.facts["threads"] for one in facts.prepared.values()] == [1, 1, 2]
    assert {key.partition("@")[0] for key in facts.prepared} == {"random-llama-8m/w"} and len(facts.prepared) == 3
